"""Spark and MPI operators on a real API and real controllers; only Spark and Horovod themselves are stood in for."""

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from podium.custom_resource_run import Cleanup
from podium.errors import NodePoolTooSmallError, WorkFailedError, WorkTimeoutError
from podium.hooks.custom_resource import CustomResourceHook
from podium.identity import Identity
from podium.kinds import MPI_JOB, SPARK_APPLICATION, Kind
from podium.pod_parts import GRACE_S
from podium.results import NoResultError

from tests.plugins.cluster import RACK, Platform, wait_for
from tests.plugins.harness import (
    Refused,
    Ti,
    before_looking,
    begin,
    call,
    collected_beside,
    finish,
    fire,
    refuse,
    run,
    trigger_of,
)

Make = Callable[..., Any]


def spark(does: str, **arguments: Any) -> Any:
    from podium.operators.spark import PodiumSparkOperator

    return PodiumSparkOperator(
        task_id="work", image="features", main="local:///app/main.py", arguments=[does], retries=1, **arguments
    )


def mpi(does: str, **arguments: Any) -> Any:
    from podium.operators.mpi import MPIJobOperator

    return MPIJobOperator(
        task_id="work",
        image="recommender",
        command=["python", "-m", "train", does],
        node_pool="gpu-a100",
        cpu="1",
        memory="512Mi",
        retries=1,
        **({"workers": 2} | arguments),
    )


BOTH = pytest.mark.parametrize(("make", "kind"), [(spark, SPARK_APPLICATION), (mpi, MPI_JOB)], ids=["spark", "mpi"])


def objects(platform: Platform, kind: Kind) -> dict[str, dict[str, Any]]:
    return platform.objects(kind.group, kind.version, kind.plural)


@BOTH
def test_waits_deferred_and_returns_what_the_log_says_last(
    platform: Platform, name: str, make: Make, kind: Kind, capsys: pytest.CaptureFixture[str]
) -> None:
    ti = Ti("work", run_id=name)
    deferred = begin(lambda: make("slow" if make is spark else "good"), ti)
    assert isinstance(deferred, TaskDeferred)
    result = finish(lambda: make("slow" if make is spark else "good"), ti, deferred)
    assert result == ({"did": "slow"} if make is spark else {"hosts": 2})
    assert "PODIUM_RESULT" in capsys.readouterr().out, "the log of the pod that matters runs along"
    manifest = objects(platform, kind)[Identity.of(ti, 1).name]
    assert manifest["metadata"]["labels"]["podium.dev/epoch"] == "0"


def test_mpi_job_is_what_the_operator_in_a_cluster_needs(platform: Platform, name: str) -> None:
    ti = Ti("work", run_id=name)
    assert run(lambda: mpi("good"), ti) == {"hosts": 2}
    spec = objects(platform, MPI_JOB)[Identity.of(ti, 1).name]["spec"]
    assert spec["launcherCreationPolicy"] == "WaitForWorkersReady"
    assert spec["runPolicy"]["cleanPodPolicy"] == "Running"
    assert spec["runPolicy"]["backoffLimit"] == 0
    launcher, worker = (spec["mpiReplicaSpecs"][role]["template"]["spec"] for role in ("Launcher", "Worker"))
    assert launcher["containers"][0]["command"][:6] == [
        *("horovodrun", "--gloo", "--hostfile", "/etc/mpi/hostfile"),
        *("-np", "2"),
    ]
    assert worker["containers"][0]["command"][0] == "/usr/sbin/sshd"
    assert worker["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert worker["nodeSelector"]["podium.dev/pool"] == "gpu-a100"
    for pod in (launcher, worker):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert not any("PASSWORD" in variable["name"] for variable in pod["containers"][0]["env"])


def test_spark_application_is_what_the_operator_in_a_cluster_needs(platform: Platform, name: str) -> None:
    ti = Ti("work", run_id=name)
    assert run(lambda: spark("good"), ti) == {"did": "good"}
    spec = objects(platform, SPARK_APPLICATION)[Identity.of(ti, 1).name]["spec"]
    driver, executor = (spec[role]["template"]["spec"] for role in ("driver", "executor"))
    assert (spec["driver"]["serviceAccount"], spec["executor"]["serviceAccount"]) == ("podium-spark", "podium-jobs")
    assert (driver["automountServiceAccountToken"], executor["automountServiceAccountToken"]) == (True, False)
    # By these names Spark finds its own container in a template.
    assert [pod["containers"][0]["name"] for pod in (driver, executor)] == [
        "spark-kubernetes-driver",
        "spark-kubernetes-executor",
    ]
    for pod in (driver, executor):
        assert pod["nodeSelector"]["podium.dev/pool"] == "spark"
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["containers"][0]["volumeMounts"]


def test_a_gang_is_not_split_across_racks(platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left alone, the scheduler spreads the workers: an empty node has more room than one with a worker on it."""
    from podium.platform import settings

    monkeypatch.setenv("PODIUM_NODE_POOLS__GPU-A100__TOPOLOGY_KEY", RACK)
    monkeypatch.setenv("PODIUM_NODE_POOLS__GPU-A100__KUEUE_QUEUE", "training")
    settings.cache_clear()
    ti = Ti("work", run_id=name)
    try:
        deferred = begin(lambda: mpi("wait"), ti)
    finally:
        monkeypatch.undo()
        settings.cache_clear()
    job = Identity.of(ti, 1).name
    assert objects(platform, MPI_JOB)[job]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "training"

    def nodes() -> list[str]:
        workers = [pod for pod_name, pod in platform.pods().items() if pod_name.startswith(f"{job}-worker-")]
        return [pod["spec"]["nodeName"] for pod in workers if pod["spec"].get("nodeName")]

    wait_for(lambda: len(nodes()) == 2, "the workers to be placed")
    assert len(set(nodes())) == 1
    call_kill(deferred)


def test_work_that_can_never_fit_fails_the_parse_with_the_arithmetic() -> None:
    with pytest.raises(NodePoolTooSmallError, match=r"asks 16 NVIDIA-A100-SXM4-80GB \(4 pods x 4\), the pool has 8"):
        mpi("good", workers=4, gpus_per_worker=4)
    with pytest.raises(NodePoolTooSmallError, match=r"one pod asks 43008Mi memory, one node has 32Gi memory"):
        spark("good", executor_memory="30g")


@BOTH
def test_failure_names_reason_exit_code_last_lines_and_what_to_do(
    platform: Platform, name: str, make: Make, kind: Kind
) -> None:
    with pytest.raises(WorkFailedError) as failure:
        run(lambda: make("fail"), Ti("work", run_id=name))
    text = str(failure.value)
    cause, what = text.splitlines()[:2]
    assert cause.endswith("AnalysisException: no such table" if make is spark else "ValueError: no rows"), cause
    assert cause.startswith("work failed: ")
    assert what.startswith(f"{kind.name} podium/")
    assert "exit code 2" in text if make is spark else "exit code 1" in text
    assert "AnalysisException: no such table" in text if make is spark else "ValueError: no rows" in text
    assert "clear the task" in text


@BOTH
def test_a_second_attempt_adopts_what_the_first_began(platform: Platform, name: str, make: Make, kind: Kind) -> None:
    first = Ti("work", run_id=name)
    deferred = begin(lambda: make("wait"), first)
    assert isinstance(deferred, TaskDeferred)
    uid = objects(platform, kind)[Identity.of(first, 1).name]["metadata"]["uid"]
    again = begin(lambda: make("wait"), first.retried())
    assert isinstance(again, TaskDeferred)
    assert trigger_of(again).uid == uid == trigger_of(deferred).uid
    call_kill(again)
    wait_for(lambda: Identity.of(first, 1).name not in objects(platform, kind), "the object to go")


def call_kill(deferred: TaskDeferred) -> None:
    import asyncio

    asyncio.run(trigger_of(deferred).on_kill())


@BOTH
def test_work_that_ended_unwatched_is_collected_not_run_again(
    platform: Platform, name: str, make: Make, kind: Kind
) -> None:
    ti = Ti("work", run_id=name)
    assert isinstance(begin(lambda: make("good"), ti), TaskDeferred)
    obj = Identity.of(ti, 1).name
    wait_for(lambda: kind.judge(objects(platform, kind)[obj]).phase.is_final, "the work to end unwatched")
    uid = objects(platform, kind)[obj]["metadata"]["uid"]
    assert begin(lambda: make("good"), ti.retried()) == ({"did": "good"} if make is spark else {"hosts": 2})
    assert objects(platform, kind)[obj]["metadata"]["uid"] == uid


@BOTH
def test_work_that_another_attempt_collects_in_this_moment_is_not_run_again(
    platform: Platform, name: str, make: Make, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    ti = Ti("work", run_id=name)
    first = begin(lambda: make("good", cleanup=Cleanup.DELETE_ON_SUCCESS), ti)
    before_looking(
        monkeypatch,
        CustomResourceHook,
        lambda: finish(lambda: make("good", cleanup=Cleanup.DELETE_ON_SUCCESS), ti, first),
    )
    expected = {"did": "good"} if make is spark else {"hosts": 2}
    assert begin(lambda: make("good", cleanup=Cleanup.DELETE_ON_SUCCESS), ti.retried()) == expected
    assert Identity.of(ti, 1).name not in objects(platform, kind)


@BOTH
def test_work_that_another_attempt_takes_away_while_it_is_collected_keeps_its_result(
    platform: Platform, name: str, make: Make, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, found, first = collected_beside(
        monkeypatch, lambda: make("good", cleanup=Cleanup.DELETE_ON_SUCCESS), Ti("work", run_id=name)
    )
    expected = {"did": "good"} if make is spark else {"hosts": 2}
    assert found == expected
    assert first == other.reported.result == expected


class DiedError(BaseException):
    """The process is killed here."""


@BOTH
@pytest.mark.parametrize("deletes", [False, True], ids=["before it deletes", "after it deleted"])
def test_the_result_outlives_an_attempt_that_dies_once_it_has_it(
    platform: Platform, name: str, make: Make, kind: Kind, monkeypatch: pytest.MonkeyPatch, deletes: bool
) -> None:
    def good() -> Any:
        return make("good", cleanup=Cleanup.DELETE_ON_SUCCESS)

    delete = CustomResourceHook.delete

    def die(*arguments: Any) -> None:
        if deletes:
            delete(*arguments)
        raise DiedError

    ti = Ti("work", run_id=name)
    monkeypatch.setattr(CustomResourceHook, "delete", die)
    with pytest.raises(DiedError):
        run(good, ti)
    monkeypatch.setattr(CustomResourceHook, "delete", delete)
    expected = {"did": "good"} if make is spark else {"hosts": 2}
    # Another object would be waited for deferred.
    assert begin(good, ti.retried()) == expected
    assert Identity.of(ti, 1).name not in objects(platform, kind)


@BOTH
def test_a_failed_attempt_makes_room_for_the_next(platform: Platform, name: str, make: Make, kind: Kind) -> None:
    ti = Ti("work", run_id=name)
    with pytest.raises(WorkFailedError):
        run(lambda: make("fail"), ti)
    assert Identity.of(ti, 1).name in objects(platform, kind), "a failed object stays for inspection"
    assert run(lambda: make("good"), ti.retried()) is not None


@BOTH
def test_a_cleared_task_ends_what_it_had_running_and_starts_anew(
    platform: Platform, name: str, make: Make, kind: Kind
) -> None:
    ti = Ti("work", run_id=name)
    assert isinstance(begin(lambda: make("wait"), ti), TaskDeferred)
    assert run(lambda: make("good"), ti.cleared()) is not None
    left = objects(platform, kind)
    assert Identity.of(ti, 1).name not in left
    assert Identity.of(ti.cleared(), 1).name in left


@BOTH
def test_work_that_takes_too_long_is_ended(platform: Platform, name: str, make: Make, kind: Kind) -> None:
    import datetime as dt

    def hasty() -> Any:
        return make("wait", execution_timeout=dt.timedelta(seconds=3))

    ti = Ti("work", run_id=name)
    with pytest.raises(WorkTimeoutError, match="did not finish within its execution_timeout"):
        run(hasty, ti)
    wait_for(lambda: Identity.of(ti, 1).name not in objects(platform, kind), "the object to go")


@BOTH
def test_an_attempt_that_was_superseded_ends_nothing_when_its_time_is_over(
    platform: Platform, name: str, make: Make, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datetime as dt

    ti = Ti("work", run_id=name)
    refuse(monkeypatch, after=2)
    with pytest.raises(Refused):
        run(lambda: make("wait", execution_timeout=dt.timedelta(seconds=3)), ti)
    assert not objects(platform, kind)[Identity.of(ti, 1).name]["metadata"].get("deletionTimestamp")


@BOTH
def test_work_that_somebody_deleted_is_a_failure_not_a_success(
    platform: Platform, name: str, make: Make, kind: Kind
) -> None:
    ti = Ti("work", run_id=name)
    deferred = begin(lambda: make("wait"), ti)
    path = f"/apis/{kind.api_version}/namespaces/podium/{kind.plural}/{Identity.of(ti, 1).name}"
    platform.call("DELETE", path)
    with pytest.raises(WorkFailedError, match="is gone: somebody deleted it"):
        finish(lambda: make("wait"), ti, deferred)


@BOTH
def test_a_driver_or_launcher_that_vanishes_is_a_failure_with_a_reason(
    platform: Platform, name: str, make: Make, kind: Kind
) -> None:
    ti = Ti("work", run_id=name)
    deferred = begin(lambda: make("wait"), ti)
    pod = f"{Identity.of(ti, 1).name}-{'driver' if make is spark else 'launcher'}"
    wait_for(lambda: platform.pods().get(pod, {}).get("status", {}).get("phase") == "Running", "the pod to run")
    platform.call("DELETE", f"/api/v1/namespaces/podium/pods/{pod}?gracePeriodSeconds=0")
    with pytest.raises(WorkFailedError) as failure:
        finish(lambda: make("wait"), ti, deferred)
    said = str(failure.value)
    assert f"{kind.name} podium/{Identity.of(ti, 1).name} is failed (" in said
    assert "clear the task" in said.lower()
    assert "containers" not in said


@BOTH
def test_a_task_that_waits_in_the_worker_does_all_that_a_deferred_one_does(
    platform: Platform, name: str, make: Make, kind: Kind, capsys: pytest.CaptureFixture[str]
) -> None:
    ti = Ti("work", run_id=name)
    result = begin(lambda: make("slow", deferrable=False), ti)
    assert result == ({"did": "slow"} if make is spark else {"hosts": 2})
    assert capsys.readouterr().out.count("PODIUM_RESULT") == 1
    with pytest.raises(WorkFailedError, match=r"exit code"):
        begin(lambda: make("fail", deferrable=False), ti.cleared())


@BOTH
def test_work_that_takes_too_long_in_the_worker_is_ended_by_airflows_own_alarm_too(
    platform: Platform, name: str, make: Make, kind: Kind
) -> None:
    from airflow.sdk.execution_time.timeout import timeout

    ti = Ti("work", run_id=name)

    def run_with_an_alarm() -> None:
        with timeout(2):
            begin(lambda: make("wait", deferrable=False), ti)

    with pytest.raises(WorkTimeoutError, match="did not finish within its execution_timeout"):
        run_with_an_alarm()
    wait_for(lambda: Identity.of(ti, 1).name not in objects(platform, kind), "the object to go")


@BOTH
@pytest.mark.parametrize("cleanup", list(Cleanup))
@pytest.mark.parametrize("does", ["good", "fail"])
def test_what_becomes_of_a_finished_object(
    platform: Platform, name: str, make: Make, kind: Kind, cleanup: Cleanup, does: str
) -> None:
    ti = Ti("work", run_id=name)
    if does == "good":
        run(lambda: make(does, cleanup=cleanup), ti)
    else:
        with pytest.raises(WorkFailedError, match="exit code"):
            run(lambda: make(does, cleanup=cleanup), ti)
    kept = {Cleanup.KEEP: True, Cleanup.DELETE_ON_SUCCESS: does == "fail", Cleanup.DELETE_ALWAYS: False}[cleanup]
    job = Identity.of(ti, 1).name
    assert (job in objects(platform, kind)) is kept
    if not kept:
        wait_for(lambda: not any(pod.startswith(job) for pod in platform.pods()), "what it owned to go")


@BOTH
def test_a_deferred_task_that_is_killed_takes_all_that_its_object_owns_along(
    platform: Platform, name: str, make: Make, kind: Kind
) -> None:
    ti = Ti("work", run_id=name)
    deferred = begin(lambda: make("wait"), ti)
    job = Identity.of(ti, 1).name

    def pods() -> list[dict[str, Any]]:
        return [pod for pod_name, pod in platform.pods().items() if pod_name.startswith(f"{job}-")]

    main = "-driver" if make is spark else "-launcher"
    wait_for(lambda: any(pod["metadata"]["name"].endswith(main) for pod in pods()), "the pods to be there")
    assert {pod["spec"]["terminationGracePeriodSeconds"] for pod in pods()} == {GRACE_S}
    call_kill(deferred)
    wait_for(lambda: not pods() and job not in objects(platform, kind), "all of it to go")


def test_success_without_a_result_says_what_the_job_should_do(platform: Platform, name: str) -> None:
    with pytest.raises(NoResultError, match="PODIUM_RESULT"):
        run(lambda: spark("silent"), Ti("work", run_id=name))


@pytest.mark.parametrize(("killed", "left"), [(True, False), (False, True)])
def test_only_a_killed_attempt_takes_its_object_along(
    platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch, killed: bool, left: bool
) -> None:
    monkeypatch.setattr("podium.custom_resource_run.was_killed", lambda ti: killed)
    ti = Ti("work", run_id=name)
    operator = spark("wait")
    with pytest.raises(TaskDeferred):
        call(operator, "execute", ti)
    operator.on_kill()
    assert (Identity.of(ti, 1).name in objects(platform, SPARK_APPLICATION)) is left


def test_a_mapped_task_has_an_object_for_each_index(platform: Platform, name: str) -> None:
    tis = [Ti("work", run_id=name, map_index=index) for index in range(2)]
    assert [run(lambda index=index: spark(f"part{index}"), ti) for index, ti in enumerate(tis)] == [
        {"did": "part0"},
        {"did": "part1"},
    ]


def test_the_trigger_goes_on_after_a_restart_of_the_triggerer(platform: Platform, name: str) -> None:
    ti = Ti("work", run_id=name)
    deferred = begin(lambda: spark("slow"), ti)
    # Both watch: the one of the triggerer that died, had it lived, and its successor.
    assert fire(deferred)["status"] == fire(deferred)["status"] == "succeeded"
