"""Who is to be erased: handed over in the lake's bucket, so that nothing which orchestrates gets to know the household.

What an orchestrator is given stays in many places: a run's configuration, its log of events, rendered templates, the
arguments of a pod, whatever the cluster keeps of these. So it is given the pseudonym alone. The request, one object
with the household's id, lies beside the household's own data for as long as these do, and goes when nothing is left.
"""

import datetime as dt
from typing import Final
from urllib.parse import urlsplit

from include.jobs.lake.connections import Connections
from include.jobs.lake.errors import JobError, LakeError
from include.jobs.lake.pseudonyms import Pseudonyms
from include.jobs.lake.result import read_object, write_object

_LARGEST_ID: Final = 2**63 - 1


class RequestError(JobError):
    """Nobody has asked for this erasure, or not for a household."""


def leave_request(connections: Connections, pseudonyms: Pseudonyms, text: str) -> str:
    """Ask for the erasure of a household, whose id is the text; its pseudonym. Safe to repeat.

    Raises:
        RequestError: the text is no id. It is not repeated in the error.
    """
    digits = text.strip()
    if not (digits.isascii() and digits.isdecimal()) or int(digits) > _LARGEST_ID:
        raise RequestError("that is no household id: give one whole number on standard input, for instance 900")
    household_id = int(digits)
    pseudonym = pseudonyms.household(household_id)
    moment = dt.datetime.now(dt.UTC).isoformat()
    write_object(_address(connections, pseudonym), {"household": household_id, "requested_at": moment}, connections)
    return pseudonym


def requested(connections: Connections, pseudonyms: Pseudonyms, pseudonym: str) -> int:
    """The household whose erasure was asked for.

    Raises:
        RequestError: there is no such request, or it is another household's.
    """
    try:
        household_id = int(read_object(_address(connections, pseudonym), connections)["household"])
    except (LakeError, KeyError, TypeError, ValueError) as error:
        raise RequestError(
            f"there is no request to erase {pseudonym}: leave it first with `make erase`, or `python -m "
            "include.jobs.upkeep request` in a pod of the image, the household's id on standard input. It goes when "
            "the proof has found nothing left"
        ) from error
    if pseudonyms.household(household_id) != pseudonym:
        raise RequestError(
            f"the request to erase {pseudonym} names a household of another pseudonym: was the key changed? Leave it "
            "anew"
        )
    return household_id


def drop_request(connections: Connections, pseudonym: str) -> None:
    """Remove a request: nobody needs to know the household any more."""
    connections.filesystem().delete_file(request_path(connections, pseudonym))


def request_path(connections: Connections, pseudonym: str) -> str:
    """The path of a request, `bucket/key`."""
    return f"{urlsplit(connections.warehouse).netloc}/erasures/requests/{pseudonym}.json"


def _address(connections: Connections, pseudonym: str) -> str:
    return f"s3://{request_path(connections, pseudonym)}"
