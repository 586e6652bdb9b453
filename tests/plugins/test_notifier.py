"""Who is told of a failure, and what: the providers' own hooks, against a server of the test's."""

import datetime as dt
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from podium.dag_defaults import default_args
from podium.errors import WorkFailedError
from podium.notifiers.failure import FailureNotifier, Slowness, send_to_all, shortened
from podium.platform import settings

REASON = "train failed.\nPod podium/fit: container base ended with exit code 3.\n  7 of 10 <broken>\nClear the task."
CHANNELS = ("SLACK_WEBHOOK", "PAGERDUTY_EVENTS", "ALERTMANAGER")


class Server(ThreadingHTTPServer):
    """Takes whatever is posted."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.posts: dict[str, Any] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """Answers as each of the channels does."""

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"]))
        assert isinstance(self.server, Server)
        self.server.posts[self.path] = json.loads(text)
        accepted = self.path == "/v2/enqueue"
        answer = b'{"status": "success", "dedup_key": "k"}' if accepted else b"ok"
        self.send_response(202 if accepted else 200)
        self.send_header("Content-Type", "application/json" if accepted else "text/plain")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the console."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def channels(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """All three of them lead to the server."""
    slack = {"conn_type": "slackwebhook", "password": f"{server.url}/slack/hook"}
    pager = {"conn_type": "pagerduty_events", "password": "key-of-the-test-32-characters-long"}
    alerts = {"conn_type": "http", "host": server.url}
    for name, connection in zip(CHANNELS, (slack, pager, alerts), strict=True):
        monkeypatch.setenv(f"PODIUM_NOTIFICATIONS__{name}_CONNECTION_ID", name.lower())
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(connection))
    # PagerDuty's own client takes no address but https ones, and the provider's hook none at all.
    address = property(lambda _: server.url, lambda _, value: None)
    monkeypatch.setattr("pagerduty.EventsApiV2Client.url", address)
    settings.cache_clear()
    yield server
    monkeypatch.undo()
    settings.cache_clear()


def failed(reason: str = REASON) -> Any:
    ti = SimpleNamespace(dag_id="train_recommender", run_id="r1", task_id="train", map_index=-1, try_number=2)
    ti.log_url = "http://airflow/dags/train_recommender/runs/r1/tasks/train"
    return {"ti": ti, "exception": WorkFailedError(reason)}


def test_every_channel_is_told_reason_runbook_and_log(channels: Server) -> None:
    FailureNotifier().notify(failed())
    title = "train_recommender.train failed (run r1, try 2)"

    slack = channels.posts["/slack/hook"]["text"]
    assert title in slack
    assert "7 of 10 &lt;broken&gt;" in slack
    assert "/dags/train_recommender|Runbook>" in slack
    assert "tasks/train|Log>" in slack

    page = channels.posts["/v2/enqueue"]
    assert (page["event_action"], page["payload"]["severity"]) == ("trigger", "error")
    assert page["payload"]["summary"].startswith(f"{title}: ")
    assert page["payload"]["custom_details"] == {"reason": REASON}
    assert page["dedup_key"] == "podium/train_recommender/r1/train/-1"
    assert [link["text"] for link in page["links"]] == ["Runbook", "Log"]

    (alert,) = channels.posts["/api/v2/alerts"]
    assert alert["labels"]["dag_id"] == "train_recommender"
    assert alert["annotations"]["description"] == REASON
    assert alert["annotations"]["runbook_url"].endswith("/dags/train_recommender")


def test_a_slow_task_is_an_alarm_of_its_own(channels: Server) -> None:
    told = Slowness("train_recommender", "r1", "train", -1, 2, "It has been at work for 1 h 2 min", "runbook", "log")
    send_to_all(told, logging.getLogger(__name__))
    summary = channels.posts["/v2/enqueue"]["payload"]["summary"]
    assert summary.startswith("train_recommender.train is slow (run r1, try 2): It has been at work for 1 h 2 min")
    assert channels.posts["/v2/enqueue"]["dedup_key"] == "podium/train_recommender/r1/train/-1/slow"
    (alert,) = channels.posts["/api/v2/alerts"]
    assert alert["labels"]["alertname"] == "TaskSlow"


def test_a_channel_out_of_reach_is_logged_and_keeps_nothing_from_the_others(
    channels: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    gone = {"conn_type": "slackwebhook", "password": "http://127.0.0.1:9/secret-token"}
    monkeypatch.setenv("AIRFLOW_CONN_SLACK_WEBHOOK", json.dumps(gone))
    with caplog.at_level(logging.ERROR):
        FailureNotifier().notify(failed())
    lines = (caplog.text + capsys.readouterr().out).splitlines()
    (said,) = {line for line in lines if "slack was not told: " in line}
    assert "Check the connection 'slack_webhook'" in said
    assert "secret-token" not in said
    assert {"/v2/enqueue", "/api/v2/alerts"} <= channels.posts.keys()


def test_no_secret_leaves_and_a_process_that_died_silently_is_told_of_too(channels: Server) -> None:
    FailureNotifier().notify(failed("cannot reach postgresql://lake:hunter2@db/lake"))
    assert "hunter2" not in json.dumps(channels.posts)
    FailureNotifier().notify(failed() | {"exception": None})
    assert "the node may be gone" in channels.posts["/api/v2/alerts"][0]["annotations"]["description"]


def test_a_long_reason_keeps_its_beginning_and_its_end() -> None:
    text = shortened("why" + "x" * 100_000 + "what to do")
    assert len(text) < 3000
    assert text.startswith("why")
    assert text.endswith("what to do")


def test_dags_tell_somebody_only_where_the_settings_name_a_channel(channels: Server) -> None:
    assert isinstance(default_args(dt.timedelta(hours=1))["on_failure_callback"], FailureNotifier)


def test_nobody_is_told_on_a_laptop() -> None:
    settings.cache_clear()
    assert "on_failure_callback" not in default_args(dt.timedelta(hours=1))
