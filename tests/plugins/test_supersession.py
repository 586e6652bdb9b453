import threading

import pytest
from podium import supersession
from podium.identity import Identity
from podium.supersession import ABSENT, was_killed

from tests.plugins.test_identity import Ti


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "removed", "restarting", ABSENT])
def test_ended_by_somebody(state: str) -> None:
    assert was_killed(Ti(), lambda _: state)


@pytest.mark.parametrize("state", [None, "running", "queued", "scheduled", "up_for_retry", "deferred"])
def test_superseded_by_another_attempt(state: str | None) -> None:
    assert not was_killed(Ti(), lambda _: state)


def test_no_answer_leaves_the_work_alone() -> None:
    def broken(_: object) -> str:
        raise ConnectionError

    assert not was_killed(Ti(), broken)


def test_a_server_that_does_not_answer_in_time_leaves_the_work_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supersession, "PATIENCE_S", 0.05)
    never = threading.Event()
    assert not was_killed(Ti(), lambda _: str(never.wait(5)))
    never.set()


def test_names_do_not_depend_on_the_try() -> None:
    assert Identity.of(Ti(try_number=1), 2) == Identity.of(Ti(try_number=3), 2)
