"""The pod operator on a real API: the dev cluster."""

import datetime as dt
import json
import re
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from podium.errors import (
    GateRefusedError,
    IntervalRefusedError,
    NodePoolTooSmallError,
    UnknownImageError,
    WorkFailedError,
    WorkTimeoutError,
)
from podium.hooks.pods import Pods
from podium.identity import Identity
from podium.platform import settings

from tests.plugins.cluster import Platform, wait_for
from tests.plugins.harness import (
    Refused,
    Ti,
    before_looking,
    begin,
    call,
    collected_beside,
    defer_soon,
    finish,
    fire,
    refuse,
    run,
)


def operator(code: str, **arguments: Any) -> Any:
    from podium.operators.pod import PodiumPodOperator

    script = textwrap.dedent(code)
    return PodiumPodOperator(task_id="work", image="ingest", arguments=["python", "-c", script], retries=1, **arguments)


def leave(result: str) -> str:
    return f"import json, os; open(os.environ['PODIUM_XCOM_PATH'], 'w').write(json.dumps({result}))"


def test_result_environment_and_credentials(platform: Platform, name: str) -> None:
    code = """
        import json, os, pathlib
        secret = pathlib.Path(os.environ["PODIUM_CREDENTIALS_DIR"]) / "catalog_password"
        kept = {k: os.environ.get(k) for k in ("PODIUM_RUN_ID", "PODIUM_DAG_ID", "PODIUM_IMAGE", "S3_ENDPOINT_URL")}
        leaked = [k for k, v in os.environ.items() if secret.read_text() in v]
        result = kept | {"secret": secret.read_text(), "leaked": leaked}
        open(os.environ["PODIUM_XCOM_PATH"], "w").write(json.dumps(result))
    """
    result = run(lambda: operator(code), Ti("work", run_id=name))
    assert result["PODIUM_RUN_ID"] == name
    assert result["PODIUM_DAG_ID"] == "dag"
    assert result["PODIUM_IMAGE"] == "podium/ingest:dev"
    assert result["S3_ENDPOINT_URL"].startswith("http://127.0.0.1:")
    assert (result["secret"], result["leaked"]) == ("s3cret", [])


def test_a_short_pod_is_not_worth_a_deferral(platform: Platform, name: str) -> None:
    assert begin(lambda: operator(leave("{'n': 1}")), Ti("work", run_id=name)) == {"n": 1}


def test_a_longer_pod_is_waited_for_deferred(platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    defer_soon(monkeypatch)
    code = f"import time; time.sleep(3); {leave('{1: 2}')}"
    deferred = begin(lambda: operator(code), Ti("work", run_id=name))
    assert isinstance(deferred, TaskDeferred)
    assert finish(lambda: operator(code), Ti("work", run_id=name), deferred) == {"1": 2}


def test_a_trigger_fires_when_the_scheduler_has_had_time_to_note_the_deferral(
    platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    defer_soon(monkeypatch)
    own = settings()
    faults = own.faults.model_copy(update={"defer_noted_s": 6.0})
    monkeypatch.setattr("podium.triggers.work.settings", lambda: own.model_copy(update={"faults": faults}))
    # It is over some seconds before that.
    code = f"import time; time.sleep(2); {leave('1')}"
    deferred = begin(lambda: operator(code), Ti("work", run_id=name))
    began = time.time()
    assert fire(deferred)["status"] == "success"
    assert time.time() >= deferred.trigger.not_before > began + 4


def test_pods_are_restricted_and_tolerate_their_pool(platform: Platform, name: str) -> None:
    ti = Ti("work", run_id=name)
    with pytest.raises(WorkFailedError):
        run(lambda: operator("raise SystemExit(1)", node_pool="gpu-a100", gpus=1), ti)
    pod = platform.pods()[Identity.of(ti, 1).name]
    assert pod["spec"]["nodeName"].startswith("gpu-a100-")
    assert pod["spec"]["serviceAccountName"] == "podium-jobs"
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    for container in pod["spec"]["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_failure_says_what_happened_and_what_to_do(platform: Platform, name: str) -> None:
    code = "import sys; print('7 of 10 records are broken'); sys.exit(3)"
    with pytest.raises(WorkFailedError) as failure:
        run(lambda: operator(code), Ti("work", run_id=name))
    text = str(failure.value)
    assert text.startswith("work failed: 7 of 10 records are broken\nPod podium/dag-work-")
    assert "exit code 3" in text
    assert "7 of 10 records are broken" in text
    assert "runbook" in text
    assert "containers" not in text


def test_an_image_that_cannot_be_had(platform: Platform, name: str) -> None:
    def broken() -> Any:
        made = operator("pass", startup_timeout_seconds=2)
        made.image = "podium/nowhere:dev"
        return made

    with pytest.raises(WorkFailedError, match=r"images in include/config"):
        run(broken, Ti("work", run_id=name))


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "sync"])
def test_a_pod_that_takes_too_long_is_deleted(
    platform: Platform, name: str, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    defer_soon(monkeypatch)
    ti = Ti("work", run_id=name)
    limit = dt.timedelta(seconds=3)
    with pytest.raises(WorkTimeoutError, match=r"did not finish in time: the task's execution_timeout is over"):
        run(lambda: operator("import time; time.sleep(600)", deferrable=deferrable, execution_timeout=limit), ti)
    wait_for(lambda: Identity.of(ti, 1).name not in platform.pods(), "the pod to go")


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "sync"])
def test_an_attempt_that_was_superseded_leaves_its_pod_when_its_time_is_over(
    platform: Platform, name: str, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    defer_soon(monkeypatch)
    refuse(monkeypatch, after=2)
    ti = Ti("work", run_id=name)
    limit = dt.timedelta(seconds=3)
    with pytest.raises(Refused):
        run(lambda: operator("import time; time.sleep(600)", deferrable=deferrable, execution_timeout=limit), ti)
    assert not platform.pods()[Identity.of(ti, 1).name]["metadata"].get("deletionTimestamp")


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "sync"])
def test_a_pod_that_somebody_deleted_is_a_failure_with_a_reason(
    platform: Platform, name: str, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    defer_soon(monkeypatch)
    ti = Ti("work", run_id=name)
    pod = Identity.of(ti, 1).name
    with ThreadPoolExecutor(1) as thread:
        outcome = thread.submit(run, lambda: operator("import time; time.sleep(600)", deferrable=deferrable), ti)
        wait_for(lambda: platform.pods().get(pod, {}).get("status", {}).get("phase") == "Running", "the pod to run")
        platform.call("DELETE", f"/api/v1/namespaces/podium/pods/{pod}?gracePeriodSeconds=0")
        with pytest.raises(WorkFailedError, match=r"somebody, or the cluster, deleted it|ended with exit code 137"):
            outcome.result(60)


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "sync"])
def test_the_log_is_complete_and_no_line_comes_twice(
    platform: Platform,
    name: str,
    deferrable: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    defer_soon(monkeypatch)
    code = f"""
        import time
        for part in range(20):
            print(*(f"line {{part * 50 + index}}." for index in range(50)), sep=chr(10), flush=True)
            time.sleep(0.1)
        {leave("'said'")}
    """
    assert run(lambda: operator(code, deferrable=deferrable), Ti("work", run_id=name)) == "said"
    assert numbers(capsys.readouterr().out) == list(range(1000))


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"line (\d+)\.", text)]


def test_unknown_image_fails_the_parse() -> None:
    from podium.operators.pod import PodiumPodOperator

    with pytest.raises(UnknownImageError, match=r"'nonsense'.*ingest"):
        PodiumPodOperator(task_id="work", image="nonsense")


def test_a_pod_that_no_node_can_ever_take_fails_the_parse_with_the_arithmetic() -> None:
    with pytest.raises(NodePoolTooSmallError, match=r"one pod asks 64Gi memory, one node has 32Gi memory"):
        operator("pass", memory="64Gi")


def test_a_second_attempt_joins_the_pod_of_the_first(
    platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    defer_soon(monkeypatch)
    code = f"import time; began = time.monotonic(); time.sleep(3); {leave('began')}"
    first = Ti("work", run_id=name)
    assert isinstance(begin(lambda: operator(code), first), TaskDeferred)
    before_the_second = time.monotonic()
    assert run(lambda: operator(code), first.retried()) < before_the_second


def test_a_pod_that_succeeded_unwatched_is_not_run_again(
    platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    defer_soon(monkeypatch)
    marker = platform.folder / name
    code = f"""
        import json, os, pathlib, time
        runs = pathlib.Path({str(marker)!r})
        time.sleep(2)
        open(os.environ["PODIUM_XCOM_PATH"], "w").write(json.dumps(os.environ["HOSTNAME"]))
    """
    first = Ti("work", run_id=name)
    assert isinstance(begin(lambda: operator(code), first), TaskDeferred)
    pod = Identity.of(first, 1).name
    uid = platform.pods()[pod]["metadata"]["uid"]

    def base_ended() -> bool:
        statuses = platform.pods()[pod]["status"]["containerStatuses"]
        return any(s["name"] == "base" and "terminated" in s["state"] for s in statuses)

    wait_for(base_ended, "the pod to end unwatched")
    assert platform.pods()[pod]["metadata"]["uid"] == uid
    assert begin(lambda: operator(code), first.retried()) == pod


def test_a_pod_whose_result_another_attempt_collects_in_this_moment_is_not_run_again(
    platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    defer_soon(monkeypatch)
    code = f"import time; time.sleep(3); {leave('time.monotonic_ns()')}"
    ti = Ti("work", run_id=name)
    deferred, results = begin(lambda: operator(code), ti), []
    before_looking(monkeypatch, Pods, lambda: results.append(finish(lambda: operator(code), ti, deferred)))
    # Another pod would be waited for deferred.
    assert [begin(lambda: operator(code), ti.retried())] == results
    assert Identity.of(ti, 1).name not in platform.pods()


def test_a_pod_that_another_attempt_takes_away_while_it_is_collected_keeps_its_result(
    platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    defer_soon(monkeypatch)
    code = f"import time; time.sleep(3); {leave('time.monotonic_ns()')}"
    _, found, first = collected_beside(monkeypatch, lambda: operator(code), Ti("work", run_id=name))
    assert found == first
    assert first is not None


def test_a_pod_that_is_gone_before_its_result_is_read_is_a_failure(
    platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the provider it has succeeded, and left nothing."""
    defer_soon(monkeypatch)
    code = f"import time; time.sleep(3); {leave('1')}"
    ti = Ti("work", run_id=name)
    deferred = begin(lambda: operator(code), ti)
    event = fire(deferred)
    pod = Identity.of(ti, 1).name
    platform.call("DELETE", f"/api/v1/namespaces/podium/pods/{pod}?gracePeriodSeconds=0")
    wait_for(lambda: pod not in platform.pods(), "the pod to go")
    with pytest.raises(WorkFailedError, match="work failed"):
        call(operator(code), deferred.method_name, ti, event=event)


def test_a_failed_attempt_makes_room_for_the_next(platform: Platform, name: str) -> None:
    first = Ti("work", run_id=name)
    with pytest.raises(WorkFailedError):
        run(lambda: operator("raise SystemExit(1)"), first)
    assert Identity.of(first, 1).name in platform.pods(), "a failed pod stays for inspection"
    assert run(lambda: operator(leave("'again'")), first.retried()) == "again"


def test_a_cleared_task_ends_what_it_had_running_and_starts_anew(
    platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    defer_soon(monkeypatch)
    first = Ti("work", run_id=name)
    assert isinstance(begin(lambda: operator("import time; time.sleep(600)"), first), TaskDeferred)
    assert run(lambda: operator(leave("'new'")), first.cleared()) == "new"
    assert Identity.of(first, 1).name not in platform.pods()


def test_a_task_cleared_while_it_runs_starts_anew(
    platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow leaves max_tries alone then, so the new attempt has the name of the one that is being killed."""
    defer_soon(monkeypatch)
    monkeypatch.setattr("podium.operators.pod.was_killed", lambda ti: True)
    first = Ti("work", run_id=name)
    running = operator("import signal, time; signal.signal(signal.SIGTERM, lambda *_: None); time.sleep(600)")
    assert isinstance(begin(lambda: running, first), TaskDeferred)
    running.termination_grace_period = 2
    running.on_kill()
    assert Identity.of(first, 1).name in platform.pods(), "it is still on its way out"
    assert run(lambda: operator(leave("'new'")), first.retried()) == "new"


@pytest.mark.parametrize(("killed", "left"), [(True, False), (False, True)])
def test_only_a_killed_attempt_takes_its_pod_along(
    platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch, killed: bool, left: bool
) -> None:

    defer_soon(monkeypatch)
    monkeypatch.setattr("podium.operators.pod.was_killed", lambda ti: killed)
    ti = Ti("work", run_id=name)
    made = operator("import time; time.sleep(600)")
    assert isinstance(begin(lambda: made, ti), TaskDeferred)
    made.on_kill()
    pod = Identity.of(ti, 1).name
    if left:
        assert "deletionTimestamp" not in platform.pods()[pod]["metadata"]
        monkeypatch.setattr("podium.operators.pod.was_killed", lambda ti: True)
        made.on_kill()
    wait_for(lambda: pod not in platform.pods(), "the pod to go")


def test_gate_lets_a_good_candidate_through_and_names_the_reasons_of_a_refusal(platform: Platform, name: str) -> None:
    from podium.operators.gate import GateOperator

    def gate(result: dict[str, Any]) -> Any:
        script = leave(repr(result))
        return GateOperator(
            task_id="gate", model_name="recommender", image="evaluation", arguments=["python", "-c", script]
        )

    good = {"passed": True, "reasons": [], "candidate_version": "7", "champion_version": "6"}
    assert run(lambda: gate(good), Ti("gate", run_id=f"{name}-good")) == good
    bad = good | {"passed": False, "reasons": ["recall@20 0.10 is below popularity's 0.12"]}
    ti = Ti("gate", run_id=f"{name}-bad")
    with pytest.raises(GateRefusedError, match=r"Version 7.*\n.*below popularity"):
        run(lambda: gate(bad), ti)
    assert ti.xcom["return_value"] == json.loads(json.dumps(bad))


def test_a_refused_interval_fails_with_the_reasons_and_leaves_its_pages(platform: Platform, name: str) -> None:
    from podium.operators.validate import ValidateIntervalOperator

    def validate(result: dict[str, Any]) -> Any:
        script = leave(repr(result))
        return ValidateIntervalOperator(task_id="validate", interval=[], arguments=["python", "-c", script])

    sound = {"success": True, "explanation": "", "data_docs": ["s3://lake/a.html"]}
    assert run(lambda: validate(sound), Ti("validate", run_id=f"{name}-sound")) == sound
    refused = sound | {"success": False, "explanation": "1 of 9 expectations on t fail:"}
    ti = Ti("validate", run_id=f"{name}-refused")
    with pytest.raises(IntervalRefusedError, match="1 of 9 expectations on t fail"):
        run(lambda: validate(refused), ti)
    assert ti.xcom["return_value"] == refused
