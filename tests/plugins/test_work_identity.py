"""What a task's work is called is noted when it begins: no deployment makes another task of it. On the dev cluster."""

from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from podium.collected import identify
from podium.identity import Identity

from tests.plugins.cluster import Platform, wait_for
from tests.plugins.harness import Store, Ti, begin, context_of, defer_soon, finish, fire, run
from tests.plugins.test_custom_resources import mpi
from tests.plugins.test_pod_operator import leave, operator


def named(ti: Ti, retries: int) -> str:
    """What an attempt calls its work, in a process of its own, with the retries that are deployed by then."""
    return identify(context_of(ti), retries).name


def finished(ti: Ti, retries: int) -> str:
    """The same, and its result is kept."""
    from podium.collected import Collected

    context = context_of(ti)
    identity = identify(context, retries)
    Collected(context, identity).write(1)
    return identity.name


@pytest.mark.parametrize("deployed", [0, 1, 2, 5])
def test_retries_that_are_edited_change_no_name(deployed: int) -> None:
    first = Ti("work", max_tries=2)
    name = named(first, 2)
    assert named(first, deployed) == name, "resumed"
    assert named(first.retried(), deployed) == name, "retried"
    assert named(first.retried().retried(), deployed) == name, "retried again"


@pytest.mark.parametrize("deployed", [0, 1, 2, 5])
def test_a_cleared_task_has_new_work_whatever_was_deployed_meanwhile(deployed: int) -> None:
    first = Ti("work", max_tries=2)
    names = [finished(first, 2)]
    ti = first
    for _ in range(3):
        # Two edits: down or up, and back.
        for retries in (deployed, 2):
            ti = ti.cleared(retries)
            names.append(finished(ti, retries))
            assert named(ti.retried(), retries) == names[-1]
    assert len(set(names)) == len(names)


def test_a_retry_after_its_result_was_kept_is_no_clear() -> None:
    first = Ti("work", max_tries=2)
    name = finished(first, 2)
    again = first.retried()
    again.clears += 1  # of another task of the run
    assert named(again, 2) == name


def test_a_clear_is_told_before_the_first_attempt_has_noted_anything() -> None:
    first = Ti("work", max_tries=2)
    again = first.cleared(2)
    assert named(again, 2) == Identity("dag", first.run_id, "work", -1, 1).name


def test_work_of_a_platform_that_noted_nothing_is_found() -> None:
    running = Ti("work", try_number=3, max_tries=4)
    assert named(running, 2) == Identity("dag", running.run_id, "work", -1, 2).name


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_training_that_ran_while_its_retries_were_edited_is_collected(
    platform: Platform, name: str, retries: int
) -> None:
    """Not trained again."""

    def deployed(task_retries: int) -> Any:
        made = mpi("good")
        made.retries = task_retries
        return made

    ti = Ti("work", run_id=name, max_tries=2)
    deferred = begin(lambda: deployed(2), ti)
    assert isinstance(deferred, TaskDeferred)
    event = fire(deferred)
    assert event["status"] == "succeeded"
    uid = deferred.trigger.uid
    result = finish(lambda: deployed(retries), ti, deferred)
    assert result
    # An attempt that died before Airflow knew has a next one.
    assert run(lambda: deployed(retries), ti.retried()) == result
    (job,) = (
        job
        for job in platform.objects("kubeflow.org", "v2beta1", "mpijobs").values()
        if job["metadata"]["name"] == Identity.of(ti, 2).name
    )
    assert job["metadata"]["uid"] == uid


def test_a_pod_that_runs_while_its_task_is_changed_is_collected(
    platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its image, its command, its time, its pool, its retries: all of them."""
    defer_soon(monkeypatch)
    ti = Ti("work", run_id=name, max_tries=2)

    def before() -> Any:
        made = operator(f"import time; time.sleep(3); {leave('1')}")
        made.retries = 2
        return made

    def after() -> Any:
        made = operator(leave("2"), cpu="250m", env={"NEW": "1"}, pool="other", queue="other")
        made.retries = 0
        return made

    deferred = begin(before, ti)
    assert isinstance(deferred, TaskDeferred)
    assert finish(after, ti, deferred) == 1
    # And one that was cleared runs what is deployed now.
    assert run(after, ti.cleared(0)) == 2


def test_a_task_that_is_cleared_while_it_is_deferred_ends_its_work_whatever_was_deployed(
    platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    defer_soon(monkeypatch)
    ti = Ti("work", run_id=name, max_tries=2)

    def deployed(code: str, retries: int) -> Any:
        made = operator(code)
        made.retries = retries
        return made

    assert isinstance(begin(lambda: deployed("import time; time.sleep(600)", 2), ti), TaskDeferred)
    old = Identity.of(ti, 2).name
    assert old in platform.pods()
    assert run(lambda: deployed(leave("'new'"), 4), ti.cleared(4)) == "new"
    wait_for(lambda: old not in platform.pods(), "the pod to go")


def test_the_note_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    keep = Store.set

    def note(store: Store, key: str, value: Any) -> None:
        written.append(key)
        keep(store, key, value)

    monkeypatch.setattr(Store, "set", note)
    first = Ti("work", max_tries=2)
    for ti in (first, first, first.retried()):
        named(ti, 2)
    assert written == ["work"]
