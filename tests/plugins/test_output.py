"""What pods write, whatever it is, and what becomes of it: logs, results, failures. On a real API: the dev cluster."""

import asyncio
import base64
import json
import time
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.log import mask_secret
from kubernetes.client import ApiException, CoreV1Api
from kubernetes.client import models as k8s
from podium.errors import WorkFailedError
from podium.hooks.pod_log import LONGEST_LINE, Lines
from podium.identity import Identity
from podium.results import UnfitResultError, find_result
from urllib3.exceptions import ReadTimeoutError

from tests.plugins.cluster import Platform, wait_for
from tests.plugins.harness import Ti, begin, defer_soon, finish, run
from tests.plugins.test_custom_resources import mpi
from tests.plugins.test_pod_operator import leave, operator

BAR = r"import sys; sys.stderr.write('\repoch 50%\repoch 100%\n')"
# The ends of lines and of texts that one library or another sees, and bytes that are no text.
ODD = b"a\rb\x00c\x85d\xc2\x85e\xe2\x80\xa8f\x0cg\x1ch\xffi\xed\xa0\x80j\xe2\x82\nk\r\n\n\xe2\x82"
MODES = pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "sync"])


@MODES
def test_a_progress_bar_fails_nothing(
    platform: Platform,
    name: str,
    deferrable: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    defer_soon(monkeypatch)
    code = f"{BAR}; import time; time.sleep(2); {leave('1')}"
    began = time.monotonic()
    assert run(lambda: operator(code, deferrable=deferrable), Ti("work", run_id=name)) == 1
    assert time.monotonic() - began < 60
    assert "epoch 50%\repoch 100%" in capsys.readouterr().out


@MODES
def test_a_progress_bar_hides_no_failure(platform: Platform, name: str, deferrable: bool) -> None:
    began = time.monotonic()
    with pytest.raises(WorkFailedError) as failure:
        run(lambda: operator(f"{BAR}; sys.exit('no rows')", deferrable=deferrable), Ti("work", run_id=name))
    assert time.monotonic() - began < 60
    text = str(failure.value)
    assert text.startswith("work failed: no rows\n")
    assert "\n  epoch 100%\n" in text
    assert "\r" not in text


def test_any_bytes_come_into_the_log_line_by_line(
    platform: Platform, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = f"import base64, sys; sys.stdout.buffer.write(base64.b64decode({base64.b64encode(ODD)!r})); {leave('1')}"
    assert run(lambda: operator(code), Ti("work", run_id=name)) == 1
    said = capsys.readouterr().out
    # What writes logs on a node takes a carriage return before a newline for a part of it.
    for line in ODD.replace(b"\r\n", b"\n").decode("utf-8", "backslashreplace").split("\n"):
        assert line in said


@pytest.mark.parametrize("said", [b"", b"no newline", ODD, b"x" * 60_000], ids=["nothing", "cut", "odd", "long"])
def test_any_last_words_are_told(platform: Platform, name: str, said: bytes) -> None:
    code = f"import base64, sys; sys.stdout.buffer.write(base64.b64decode({base64.b64encode(said)!r})); sys.exit(3)"
    with pytest.raises(WorkFailedError, match="ended with exit code 3") as failure:
        run(lambda: operator(code), Ti("work", run_id=name))
    assert all(char == "\n" or char.isprintable() for char in str(failure.value))
    assert len(str(failure.value)) < 3000


def test_a_result_beside_a_progress_bar_is_found(platform: Platform, name: str) -> None:
    bars = "\rstep 1\rstep 2" + json.dumps({"epochs": 2, "odd": "\u2028\x85"}, ensure_ascii=False).join(
        ("PODIUM_RESULT ", "\rstep 3")
    )
    assert find_result(["before", bars]) == {"epochs": 2, "odd": "\u2028\x85"}
    assert find_result(["PODIUM_RESULT {", "PODIUM_RESULT [1]"]) is None


def unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the node of a pod is lost: the API knows of its end, its log cannot be had."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise ReadTimeoutError(None, "", "the node does not answer")  # type: ignore[arg-type]

    async def refuse_here(*_: Any, **__: Any) -> Any:
        raise AsyncApiException(status=500, reason="dial tcp 10.0.0.7:10250: i/o timeout")

    from kubernetes_asyncio.client import ApiException as AsyncApiException
    from kubernetes_asyncio.client import CoreV1Api as AsyncCoreV1Api

    monkeypatch.setattr(CoreV1Api, "read_namespaced_pod_log", refuse)
    monkeypatch.setattr(AsyncCoreV1Api, "read_namespaced_pod_log", refuse_here)


def test_a_success_is_one_also_when_its_log_cannot_be_read(
    platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable(monkeypatch)
    began = time.monotonic()
    assert run(lambda: operator(leave("1")), Ti("work", run_id=name)) == 1
    assert time.monotonic() - began < 60


def test_a_failure_is_told_soon_also_when_its_log_cannot_be_read(
    platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable(monkeypatch)
    began = time.monotonic()
    # The end of the log is in the pod's status.
    with pytest.raises(WorkFailedError, match=r"^work failed: no rows\n"):
        run(lambda: operator("raise SystemExit('no rows')"), Ti("work", run_id=name))
    assert time.monotonic() - began < 60


def test_a_side_car_that_cannot_be_ended_fails_nothing(
    platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.cncf.kubernetes.utils.pod_manager import PodManager

    def refuse(*_: Any) -> None:
        raise ApiException(status=403, reason="no")

    monkeypatch.setattr(PodManager, "extract_xcom_kill", refuse)
    assert run(lambda: operator(leave("1")), Ti("work", run_id=name)) == 1


def test_a_line_of_many_megabytes_is_cut_and_cheap() -> None:
    lines, chunk, shown = Lines(), b"x" * 50_000, []
    began = time.process_time()
    for _ in range(1000):
        shown += lines.add(chunk)
    shown += lines.add("€\nnext\n".encode())
    assert time.process_time() - began < 2
    assert shown[0] == "x" * LONGEST_LINE + " [… cut here: this line has 50,000,003 bytes]"
    assert shown[1:] == ["next"]
    assert lines.rest() == ""


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_lines_are_the_same_however_a_stream_is_cut(size: int) -> None:
    lines, shown = Lines(), []
    for start in range(0, len(ODD), size):
        shown += lines.add(ODD[start : start + size])
    assert [*shown, lines.rest()] == ODD.decode("utf-8", "backslashreplace").split("\n")


SECRET = "correct-horse-battery"
KEY = "-----BEGIN KEY-----\nfirst-line-of-it\nsecond-line-of-it\n-----END KEY-----"
PRINTS = f"""
    import os, time
    time.sleep(3)
    print("the secret is", os.environ["GIVEN"])
    print(os.environ["KEY"])
    {leave("1")}
"""


def shown_by(deferred: Any, ti: Ti, make: Any, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> str:
    """What a triggerer shows, which has read no secret itself."""
    from airflow.sdk._shared.secrets_masker import _secrets_masker

    assert isinstance(deferred, TaskDeferred)
    capsys.readouterr()
    masker = _secrets_masker()
    with monkeypatch.context() as patch:
        patch.setattr(masker, "replacer", None)
        patch.setattr(masker, "patterns", set())
        finish(make, ti, deferred)
    return capsys.readouterr().out


def test_a_secret_that_a_pod_was_given_is_hidden_in_the_triggerer_too(
    platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    defer_soon(monkeypatch)
    mask_secret(SECRET)
    mask_secret(KEY)
    ti, env = Ti("work", run_id=name), {"GIVEN": f"a/{SECRET}/b", "KEY": KEY}

    def make() -> Any:
        return operator(PRINTS, env=env)

    said = shown_by(begin(make, ti), ti, make, capsys, monkeypatch)
    assert "the secret is a/***/b" in said
    for secret in (SECRET, "first-line-of-it", "second-line-of-it"):
        assert secret not in said


def test_so_is_one_that_a_custom_resource_was_given(
    platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask_secret(SECRET)
    ti = Ti("work", run_id=name)
    deferred = begin(lambda: mpi("wait", env={"GIVEN": SECRET}), ti)
    assert isinstance(deferred, TaskDeferred)
    assert deferred.trigger.arguments["secrets"] == [SECRET]
    asyncio.run(deferred.trigger.on_kill())


def init(code: str, own: str = "fetch-model") -> k8s.V1Container:
    return k8s.V1Container(name=own, image="podium/ingest:dev", command=["python", "-c", code])


def test_an_init_container_that_fails_is_named_with_its_exit_code_and_last_lines(platform: Platform, name: str) -> None:
    code = "import sys; print('cannot reach s3://models: 403 Forbidden'); sys.exit(3)"
    with pytest.raises(WorkFailedError) as failure:
        run(lambda: operator(leave("1"), init_containers=[init(code)]), Ti("work", run_id=name))
    cause, what, *rest = str(failure.value).splitlines()
    assert cause == "work failed: cannot reach s3://models: 403 Forbidden"
    assert "init container fetch-model ended with exit code 3" in what
    assert "  cannot reach s3://models: 403 Forbidden" in rest


@MODES
@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ({}, {"work itself"}),
        ({"init_container_logs": True}, {"one of init", "two of init", "work itself"}),
        ({"init_container_logs": "two"}, {"two of init", "work itself"}),
        ({"init_container_logs": True, "get_logs": False}, {"one of init", "two of init"}),
        ({"get_logs": False}, set()),
    ],
    ids=["default", "all init", "one init", "init alone", "none"],
)
def test_logs_are_those_that_are_asked_for(
    platform: Platform,
    name: str,
    deferrable: bool,
    arguments: dict[str, Any],
    shown: set[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = [init(f"print('{own} of init')", own) for own in ("one", "two")]
    code = f"print('work itself'); {leave('1')}"
    make = lambda: operator(code, init_containers=before, deferrable=deferrable, **arguments)  # noqa: E731
    assert run(make, Ti("work", run_id=name)) == 1
    said = [line for line in capsys.readouterr().out.splitlines() if "print(" not in line]
    texts = ("one of init", "two of init", "work itself")
    assert {text for text in texts if any(text in line for line in said)} == shown


def test_a_pod_that_is_told_to_stop_has_not_succeeded(
    platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when its process makes a good end of that, and has left a result by then."""
    defer_soon(monkeypatch)
    code = f"""
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        {leave("'half'")}
        time.sleep(600)
    """
    ti = Ti("work", run_id=name)
    deferred = begin(lambda: operator(code), ti)
    pod = Identity.of(ti, 1).name
    # Somebody holds it, so that its end is seen.
    address = f"/api/v1/namespaces/podium/pods/{pod}"
    answer = platform.api.patch(
        address,
        content=json.dumps({"metadata": {"finalizers": ["podium.test/hold"]}}),
        headers={"Content-Type": "application/merge-patch+json"},
    )
    assert answer.status_code == 200, answer.text
    platform.call("DELETE", f"{address}?gracePeriodSeconds=5")
    try:
        with pytest.raises(WorkFailedError, match=r"^work failed: its pod was deleted while it was at work\n"):
            finish(lambda: operator(code), ti, deferred)
    finally:
        platform.api.patch(
            address,
            content=json.dumps({"metadata": {"finalizers": []}}),
            headers={"Content-Type": "application/merge-patch+json"},
        )
    wait_for(lambda: pod not in platform.pods(), "the pod to go")
    assert run(lambda: operator(leave("'whole'")), ti.retried()) == "whole"


@pytest.mark.parametrize("left", ["{'loss': float('nan')}", "2 ** 80", "'a' + chr(0)"], ids=["nan", "huge", "nul"])
def test_a_result_that_cannot_be_kept_fails_the_same_at_each_try(platform: Platform, name: str, left: str) -> None:
    ti = Ti("work", run_id=name)
    texts = []
    for attempt in (ti, ti.retried()):
        with pytest.raises(UnfitResultError, match="its result cannot be kept") as failure:
            run(lambda: operator(leave(left)), attempt)
        texts.append(str(failure.value))
    assert texts[0] == texts[1]


def test_a_result_that_is_no_json_is_refused_in_words(platform: Platform, name: str) -> None:
    code = "import os; open(os.environ['PODIUM_XCOM_PATH'], 'w').write(repr({1, 2}))"
    with pytest.raises(UnfitResultError, match="it is no JSON"):
        run(lambda: operator(code), Ti("work", run_id=name))
