"""How a household is handed over for its erasure, and when the hand-over goes."""

import pytest
from pyarrow.fs import FileSelector

from include.jobs.lake.connections import Connections
from include.jobs.lake.pseudonyms import Pseudonyms
from include.jobs.upkeep.erase_requests import RequestError, drop_request, leave_request, request_path, requested

PSEUDONYMS = Pseudonyms("a key")


def test_a_request_leads_from_the_pseudonym_to_the_household_until_it_is_dropped(connections: Connections) -> None:
    pseudonym = leave_request(connections, PSEUDONYMS, " 77001\n")
    assert pseudonym == leave_request(connections, PSEUDONYMS, "77001") == PSEUDONYMS.household(77001)
    assert requested(connections, PSEUDONYMS, pseudonym) == 77001
    drop_request(connections, pseudonym)
    with pytest.raises(RequestError, match=f"there is no request to erase {pseudonym}: leave it first"):
        requested(connections, PSEUDONYMS, pseudonym)
    folder = FileSelector(request_path(connections, "").rpartition("/")[0], allow_not_found=True)
    assert [info.path for info in connections.filesystem().get_file_info(folder) if info.is_file] == []


def test_a_request_of_another_key_is_none(connections: Connections) -> None:
    pseudonym = leave_request(connections, PSEUDONYMS, "77001")
    with pytest.raises(RequestError, match="was the key changed"):
        requested(connections, Pseudonyms("another key"), pseudonym)
    drop_request(connections, pseudonym)


@pytest.mark.parametrize("text", ["", "seventy", "-5", "77001.0", "77001; rm", "９", "9" * 30, "--help"])
def test_what_is_no_id_is_refused_and_not_repeated(connections: Connections, text: str) -> None:
    with pytest.raises(RequestError) as caught:
        leave_request(connections, PSEUDONYMS, text)
    assert not text or text not in str(caught.value)
