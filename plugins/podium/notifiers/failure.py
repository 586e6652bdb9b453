"""Tells people that a task has failed, with what they need to begin: the reason, the log's end, the runbook."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from airflow.sdk import BaseNotifier
from airflow.sdk._shared.secrets_masker import redact

from podium.platform import settings
from podium.redaction import redacted

if TYPE_CHECKING:
    from airflow.sdk import Context

LONGEST: Final = 2500
SEVERITY: Final = "error"
# https://developer.pagerduty.com/docs/events-api-v2/trigger-events/: the longest summary.
SUMMARY: Final = 1024
NO_REASON: Final = "Its process ended without a word: the node may be gone, or out of memory. See the task's log."


@dataclass(frozen=True)
class Failure:
    """What there is to say about a failed task.

    :param key: the same for all attempts of one task of one run: a second report updates the first.
    :param reason: why, the last log lines and what to do: Podium's errors hold all of it.
    :param runbook: address of the DAG's page, whose docs are the runbook.
    :param log: address of the task's log.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    reason: str
    runbook: str
    log: str

    @classmethod
    def of(cls, context: "Context") -> "Failure":
        """From the context of a failure callback."""
        from airflow.configuration import conf

        ti, error = context["ti"], context.get("exception")
        base = conf.get("api", "base_url", fallback="http://localhost:8080").rstrip("/")
        return cls(
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            task_id=ti.task_id,
            map_index=-1 if ti.map_index is None else ti.map_index,
            try_number=ti.try_number,
            reason=shortened(_hidden(str(error).strip())) if error else NO_REASON,
            runbook=f"{base}/dags/{ti.dag_id}",
            log=ti.log_url,
        )

    alert: ClassVar[str] = "TaskFailed"
    happened: ClassVar[str] = "failed"

    @property
    def title(self) -> str:
        """One line."""
        index = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id}.{self.task_id}{index} {self.happened} (run {self.run_id}, try {self.try_number})"

    @property
    def cause(self) -> str:
        """Why, in one line: what a pager shows."""
        return self.reason.partition("\n")[0].removeprefix(f"{self.task_id} failed: ")

    @property
    def key(self) -> str:
        """Identifies the task of the run."""
        return f"podium/{self.dag_id}/{self.run_id}/{self.task_id}/{self.map_index}"


@dataclass(frozen=True)
class Slowness(Failure):
    """A task that takes much longer than it usually does; it may yet succeed, or fail and be told of as such."""

    alert: ClassVar[str] = "TaskSlow"
    happened: ClassVar[str] = "is slow"

    @property
    def key(self) -> str:
        """Identifies the task of the run, apart from its failure."""
        return f"{super().key}/slow"


class FailureNotifier(BaseNotifier):
    """Sends a failure to every channel of `notifications` in the settings: Slack, PagerDuty, Alertmanager.

    A channel that cannot be reached is logged, with what to mend, and keeps nothing from the others.

    >>> DAG("train", default_args={"on_failure_callback": FailureNotifier()})
    """

    def notify(self, context: "Context") -> None:
        """Send it."""
        send_to_all(Failure.of(context), self.log)


def send_to_all(failure: Failure, log: Any) -> None:
    """Tell every channel; one that cannot be reached is logged."""
    channels = settings().notifications
    sends: list[tuple[str | None, Callable[[Failure, str], None]]] = [
        (channels.slack_webhook_connection_id, _slack),
        (channels.pagerduty_events_connection_id, _pagerduty),
        (channels.alertmanager_connection_id, _alertmanager),
    ]
    for connection_id, send in sends:
        if connection_id is None:
            continue
        try:
            send(failure, connection_id)
        except Exception as error:
            # Somebody else may still be reached; and the task has failed for a reason of its own.
            log.error(
                "%s was not told: %s (%s). Check the connection %r.",
                send.__name__.strip("_"),
                failure.title,
                type(error).__name__,
                connection_id,
            )


def _hidden(text: str) -> str:
    """Without what Airflow's masker knows to be secret in this process, and without what looks like it."""
    return redacted(str(redact(text)))


def shortened(text: str) -> str:
    """A text that fits a message: its beginning says why, its end what to do."""
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST // 2]}\n[…]\n{text[-LONGEST // 2 :]}"


def _slack(failure: Failure, connection_id: str) -> None:
    from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook

    links = f"<{failure.runbook}|Runbook> · <{failure.log}|Log>"
    reason = failure.reason.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = f":red_circle: *{failure.title}*\n```{reason}```\n{links}"
    SlackWebhookHook(slack_webhook_conn_id=connection_id).send(text=text, unfurl_links=False)


def _pagerduty(failure: Failure, connection_id: str) -> None:
    from airflow.providers.pagerduty.hooks.pagerduty_events import PagerdutyEventsHook

    PagerdutyEventsHook(pagerduty_events_conn_id=connection_id).send_event(
        summary=f"{failure.title}: {failure.cause}"[:SUMMARY],
        severity=SEVERITY,
        source=failure.dag_id,
        component=failure.task_id,
        dedup_key=failure.key,
        custom_details={"reason": failure.reason},
        links=[{"href": failure.runbook, "text": "Runbook"}, {"href": failure.log, "text": "Log"}],
    )


def _alertmanager(failure: Failure, connection_id: str) -> None:
    from airflow.providers.http.hooks.http import HttpHook

    labels = {"alertname": failure.alert, "severity": SEVERITY, "dag_id": failure.dag_id, "task_id": failure.task_id}
    alert: dict[str, Any] = {
        "labels": labels | {"run_id": failure.run_id, "map_index": str(failure.map_index)},
        "annotations": {
            "summary": f"{failure.title}: {failure.cause}",
            "description": failure.reason,
            "runbook_url": failure.runbook,
        },
        "generatorURL": failure.log,
    }
    # https://github.com/prometheus/alertmanager: POST /api/v2/alerts. It ends by itself after resolve_timeout.
    HttpHook(method="POST", http_conn_id=connection_id).run("/api/v2/alerts", json=[alert])
