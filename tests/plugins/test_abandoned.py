"""Work that no task waits for any longer is ended; all other work is left alone."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from podium import abandoned
from podium.abandoned import Owner, Standing, sweep
from podium.hooks.custom_resource import CustomResourceHook
from podium.identity import Identity
from podium.kinds import SPARK_APPLICATION
from podium.listeners import abandoned_work
from podium.platform import settings

from tests.plugins.cluster import Platform, wait_for
from tests.plugins.harness import Refused, Ti, begin, defer_soon, refuse, run
from tests.plugins.test_custom_resources import spark
from tests.plugins.test_pod_operator import leave, operator


@pytest.fixture
def hook(platform: Platform, monkeypatch: pytest.MonkeyPatch, name: str) -> CustomResourceHook:
    """One that sees the work of this test alone, as that of an Airflow of its own."""
    defer_soon(monkeypatch)
    monkeypatch.setattr(abandoned, "instance", lambda: name[-8:])
    return CustomResourceHook(platform.namespace, conn_id="kubernetes_default")


def standing(ti: Ti, state: str | None, max_tries: int = 1) -> Any:
    owner = Owner(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)

    def ask(owners: Iterable[Owner]) -> dict[Owner, Standing]:
        assert set(owners) == {owner}
        return {owner: Standing(state, max_tries)}

    return ask


def begin_both(ti: Ti) -> None:
    begin(lambda: operator("import time; time.sleep(600)"), ti)
    begin(lambda: spark("wait"), ti)


def left(platform: Platform, ti: Ti) -> set[str]:
    """What there is of the task's work, the driver of its application included."""
    name = Identity.of(ti, 1).name
    kind = SPARK_APPLICATION
    applications = platform.objects(kind.group, kind.version, kind.plural)
    return {pod for pod in platform.pods() if pod.startswith(name)} | {f"spark/{n}" for n in applications if n == name}


@pytest.mark.parametrize("state", [None, "scheduled", "queued", "running", "deferred", "up_for_retry", "restarting"])
def test_work_of_a_task_that_goes_on_is_left_alone(hook: CustomResourceHook, name: str, state: str | None) -> None:
    ti = Ti("work", run_id=name)
    begin(lambda: spark("wait"), ti)
    assert sweep(hook, standing(ti, state)) == []
    assert len(sweep(hook, standing(ti, "failed"))) == 1


@pytest.mark.parametrize(
    ("state", "max_tries"), [("failed", 1), ("success", 1), ("removed", 1), ("queued", 3)], ids=str
)
def test_work_of_a_task_that_was_ended_or_cleared_is_deleted(
    platform: Platform, hook: CustomResourceHook, name: str, state: str, max_tries: int
) -> None:
    ti = Ti("work", run_id=name)
    begin_both(ti)
    found = sweep(hook, standing(ti, state, max_tries))
    assert len(found) == 2
    assert all(name in text and state in text for text in found)
    wait_for(lambda: not left(platform, ti), "all of it to go")


def test_work_of_a_run_that_was_deleted_is_deleted(platform: Platform, hook: CustomResourceHook, name: str) -> None:
    ti = Ti("work", run_id=name)
    begin_both(ti)
    assert len(sweep(hook, lambda _: {})) == 2
    wait_for(lambda: not left(platform, ti), "all of it to go")


def test_what_is_over_is_kept_for_those_who_look(platform: Platform, hook: CustomResourceHook, name: str) -> None:
    ti = Ti("work", run_id=name)
    run(lambda: spark("good"), ti)
    assert sweep(hook, lambda _: {}) == []
    assert f"spark/{Identity.of(ti, 1).name}" in left(platform, ti)


def test_another_airflow_s_work_is_not_ours(
    platform: Platform, hook: CustomResourceHook, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ti = Ti("work", run_id=name)
    begin(lambda: spark("wait"), ti)
    with monkeypatch.context() as patch:
        patch.setattr(abandoned, "instance", lambda: "another")
        assert sweep(hook, lambda _: {}) == []
    assert len(sweep(hook, lambda _: {})) == 1


def test_a_triggerer_looks_once_it_has_forked_and_nobody_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that was there before would leave its locks to the child, taken for ever."""
    after_fork: list[Callable[[], None]] = []
    looked = threading.Event()
    monkeypatch.setattr("os.register_at_fork", lambda after_in_parent: after_fork.append(after_in_parent))
    monkeypatch.setattr(abandoned_work, "sweep", lambda *_: looked.set())
    monkeypatch.setenv("PODIUM_FAULTS__ABANDONED_WORK_CHECK_S", "0.01")
    settings.cache_clear()
    listener = abandoned_work.AbandonedWorkListener()
    try:
        for component in ("scheduler", "dag-processor", "celery", "triggerer"):
            assert not after_fork
            monkeypatch.setattr("sys.argv", ["airflow", component])
            listener.on_starting(None)
        (begin_looking,) = after_fork
        assert not looked.is_set()
        begin_looking()
        assert looked.wait(60)
    finally:
        listener.before_stopping(None)
        settings.cache_clear()


def test_a_result_that_was_collected_is_returned_although_its_work_is_gone(platform: Platform, name: str) -> None:
    ti = Ti("work", run_id=name)
    assert run(lambda: operator(leave("'once'")), ti) == "once"
    assert not left(platform, ti)
    assert run(lambda: operator(leave("'twice'")), ti.retried()) == "once"


def test_an_attempt_that_cannot_keep_the_result_leaves_the_pod_to_the_next(
    platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So is one that was superseded: the server refuses what it wants to keep."""
    ti = Ti("work", run_id=name)
    with monkeypatch.context() as patch:
        refuse(patch, after=2)
        with pytest.raises(Refused):
            run(lambda: operator(leave("'once'")), ti)
    assert left(platform, ti)
    assert run(lambda: operator(leave("'twice'")), ti.retried()) == "once"
    wait_for(lambda: not left(platform, ti), "the pod to go")


def test_a_custom_resource_is_deleted_only_once_its_result_is_kept(platform: Platform, name: str) -> None:
    from podium.custom_resource_run import Cleanup

    ti = Ti("work", run_id=name)
    assert run(lambda: spark("once", cleanup=Cleanup.DELETE_ON_SUCCESS), ti) == {"did": "once"}
    wait_for(lambda: not left(platform, ti), "it to go")
    assert run(lambda: spark("twice", cleanup=Cleanup.DELETE_ON_SUCCESS), ti.retried()) == {"did": "once"}
    assert not left(platform, ti)


@pytest.mark.parametrize("make", [lambda: operator(leave("'twice'")), lambda: spark("twice")], ids=["pod", "spark"])
def test_an_attempt_that_was_superseded_does_not_run_again_what_another_has_collected(
    platform: Platform, name: str, make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To it the store says that nothing was collected."""
    ti = Ti("work", run_id=name)
    refuse(monkeypatch)
    with pytest.raises(Refused):
        run(make, ti)
    assert not left(platform, ti)
