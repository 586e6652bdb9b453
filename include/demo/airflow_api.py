"""A small client of Airflow's public REST API (v2): what the demonstration asks of it, and no more."""

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import httpx

FINISHED = frozenset({"success", "failed"})
# An API server that shares two cores with the work that it reports on may take its time.
TIMEOUT_S = 120.0


class AirflowApiError(Exception):
    """Airflow refused a request; the text holds the request, the status and what Airflow said."""


@dataclass(frozen=True)
class DagRun:
    """One run of a DAG, as the API reports it. Times are aware, durations in seconds."""

    dag_id: str
    run_id: str
    state: str
    queued_at: dt.datetime | None
    start: dt.datetime | None
    end: dt.datetime | None
    data_interval_start: dt.datetime | None

    @classmethod
    def parse(cls, row: dict[str, Any]) -> Self:
        """Build a run from one row of the API's answer."""
        return cls(
            dag_id=row["dag_id"],
            run_id=row["dag_run_id"],
            state=row["state"],
            queued_at=_time(row.get("queued_at")),
            start=_time(row.get("start_date")),
            end=_time(row.get("end_date")),
            data_interval_start=_time(row.get("data_interval_start")),
        )

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end; None while it runs."""
        return (self.end - self.start).total_seconds() if self.start and self.end else None


@dataclass(frozen=True)
class TaskInstance:
    """One task of a run. `duration_s` is None until it ends."""

    dag_id: str
    run_id: str
    task_id: str
    state: str | None
    try_number: int
    start: dt.datetime | None
    end: dt.datetime | None
    id: str = ""


def _time(value: str | None) -> dt.datetime | None:
    return dt.datetime.fromisoformat(value) if value else None


class AirflowApi:
    """A logged-in client. Use it as a context manager.

    :param url: address of the API server, for instance http://127.0.0.1:26800.
    :param user: user name.
    :param password: password; sent once, for a token.
    :raises AirflowApiError: whenever Airflow refuses a request.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self._user, self._password = user, password
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_S, transport=httpx.HTTPTransport(retries=3))

    def __enter__(self) -> Self:
        self._log_in()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def _log_in(self) -> None:
        answer = self._http.post("/auth/token", json={"username": self._user, "password": self._password})
        if answer.is_error:
            raise AirflowApiError(f"log-in as {self._user} was refused: {answer.status_code} {answer.text[:200]}")
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        answer = self._http.request(method, f"/api/v2{path}", **arguments)
        if answer.status_code == httpx.codes.UNAUTHORIZED:  # the token's day is over
            self._log_in()
            answer = self._http.request(method, f"/api/v2{path}", **arguments)
        if answer.is_error:
            raise AirflowApiError(f"{method} {path}: {answer.status_code} {answer.text[:400]}")
        return answer.json() if answer.content else None

    def dag_ids(self) -> set[str]:
        """Names of the DAGs that Airflow has parsed so far."""
        return {row["dag_id"] for row in self._call("GET", "/dags", params={"limit": 100})["dags"]}

    def import_errors(self) -> list[str]:
        """`file: last line` of every DAG file that cannot be imported."""
        rows = self._call("GET", "/importErrors")["import_errors"]
        return [f"{row['filename']}: {row['stack_trace'].strip().splitlines()[-1]}" for row in rows]

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler start runs of a DAG."""
        self._call("PATCH", f"/dags/{dag_id}", params={"update_mask": "is_paused"}, json={"is_paused": False})

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Start a run by hand, with parameters where it takes some, and return its id."""
        body = {"logical_date": None, "conf": conf or {}}
        return str(self._call("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def cancel_backfills(self, dag_id: str) -> int:
        """Cancel the backfills of a DAG that have not ended (only one may run); return how many there were."""
        rows = self._call("GET", "/backfills", params={"dag_id": dag_id, "limit": 100})["backfills"]
        running = [row["id"] for row in rows if row["completed_at"] is None]
        for identifier in running:
            self._call("PUT", f"/backfills/{identifier}/cancel")
        return len(running)

    def backfill(self, dag_id: str, start: dt.datetime, end: dt.datetime, max_active_runs: int) -> int:
        """Start a backfill over `[start, end]`, intervals that have run before included; return its id."""
        body = {
            "dag_id": dag_id,
            "from_date": start.isoformat(),
            "to_date": end.isoformat(),
            "max_active_runs": max_active_runs,
            "reprocess_behavior": "completed",
            "run_backwards": False,
            "dag_run_conf": {},
        }
        return int(self._call("POST", "/backfills", json=body)["id"])

    def run(self, dag_id: str, run_id: str) -> DagRun:
        """One run of a DAG."""
        return DagRun.parse(self._call("GET", f"/dags/{dag_id}/dagRuns/{run_id}"))

    def runs(self, dag_id: str) -> list[DagRun]:
        """The latest hundred runs of a DAG, newest first."""
        rows = self._call("GET", f"/dags/{dag_id}/dagRuns", params={"limit": 100, "order_by": "-id"})
        return [DagRun.parse(row) for row in rows["dag_runs"]]

    def tasks(self, run: DagRun) -> list[TaskInstance]:
        """The tasks of a run."""
        rows = self._call("GET", f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances", params={"limit": 100})
        return [
            TaskInstance(
                dag_id=run.dag_id,
                run_id=run.run_id,
                task_id=row["task_id"],
                state=row["state"],
                try_number=row["try_number"],
                start=_time(row.get("start_date")),
                end=_time(row.get("end_date")),
                id=row["id"],
            )
            for row in rows["task_instances"]
        ]

    def result(self, run: DagRun, task_id: str) -> Any:
        """What a task returned (its XCom `return_value`), JSON decoded; None when it returned nothing."""
        path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        answer = self._http.get(f"/api/v2{path}", params={"deserialize": "true"})
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if answer.is_error:
            raise AirflowApiError(f"GET {path}: {answer.status_code} {answer.text[:400]}")
        value = answer.json()["value"]
        return json.loads(value) if isinstance(value, str) and value[:1] in "[{" else value

    def asset_events(self, since: dt.datetime) -> list[dict[str, Any]]:
        """Asset events since a moment, newest first, as the API reports them."""
        rows = self._call("GET", "/assets/events", params={"limit": 100, "order_by": "-timestamp"})["asset_events"]
        return [row for row in rows if dt.datetime.fromisoformat(row["timestamp"]) >= since]

    def log_tail(self, task: TaskInstance, lines: int = 30) -> list[str]:
        """The last lines of a task's log; empty when there is none yet."""
        try:
            return self.log(task)[-lines:]
        except AirflowApiError as error:
            return [f"(no log: {error})"]

    def log(self, task: TaskInstance) -> list[str]:
        """The lines of a task's log, of its latest try; empty when there is none yet."""
        path = f"/dags/{task.dag_id}/dagRuns/{task.run_id}/taskInstances/{task.task_id}/logs/{max(task.try_number, 1)}"
        return list(_log_lines(self._call("GET", path, params={"full_content": "true"})["content"]))


def _log_lines(content: Any) -> Iterator[str]:
    for entry in content if isinstance(content, list) else [content]:
        yield str(entry.get("event", entry)) if isinstance(entry, dict) else str(entry)
