"""What people ask of Airflow, for the audit trail: clear, mark, trigger, pause, delete, edit what tasks are given.

Airflow notes each request and each command in its event log before it does it, and so also what it then refuses. Every
such entry becomes one record of the audit trail, beside those of the tries (`podium.listeners.audit`): `started_by` is
who asked, `state` is `requested`, `outputs` says what. Values are left out, those of variables and connections as well
as the configuration of a run and the text of a note: they may hold what nobody is to keep.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from podium.listeners import bucket
from podium.listeners.audit import PREFIX, Audited
from podium.platform import settings
from podium.pseudonyms import pseudonym

if TYPE_CHECKING:
    from airflow.models.log import Log
    from sqlalchemy.orm import Session

REQUESTED: Final = "requested"
#: The entry of the event log whose time says up to when it has been read.
MARK: Final = "podium_audited"
#: Entries may be committed in another order than that of their times.
OVERLAP: Final = dt.timedelta(minutes=5)
# Requests that change nothing.
LOOKS: Final = frozenset(
    {"get_task_instances_batch", "enqueue_connection_test", "favorite_dag", "unfavorite_dag", "reparse_dag_file"}
)
# Commands that only look, and those that processes are started with.
COMMANDS: Final = frozenset(
    f"cli_{name}"
    for name in (
        *("api_server", "scheduler", "dag_processor", "triggerer", "kerberos", "standalone", "shell", "check"),
        *("asset_list", "asset_details", "dag_state", "dag_next_execution", "dag_report", "task_failed_deps"),
        *("task_state", "task_list", "task_render", "team_list"),
    )
)
# Requests that only say what they would do, unless they are told otherwise.
DRY: Final = frozenset({"clear_dag_runs", "clear_dag_run_partitions"})
# What is kept of what was asked for: what it is about, and how far it goes.
ABOUT: Final = (
    *("new_state", "state", "is_paused", "task_ids", "group_id", "dag_runs", "dag_id_pattern"),
    *("only_failed", "only_new", "only_running", "run_on_latest_version", "reset_dag_runs"),
    *("include_upstream", "include_downstream", "include_future", "include_past"),
    *("start_date", "end_date", "from_date", "to_date", "reprocess_behavior", "backfill_id", "asset_id"),
    *("connection_id", "variable_key", "key", "xcom_key", "pool_name", "name"),
)
NAMES: Final = ("key", "connection_id", "pool_name", "name", "dag_run_id", "task_id")


def is_request(entry: "Log") -> bool:
    """Whether an entry of the event log says what somebody asked for that changes something."""
    if entry.event.startswith("cli_"):
        return entry.event not in COMMANDS
    said = _said(entry)
    dry = said.get("dry_run", entry.event in DRY)
    return said.get("method") in ("POST", "PUT", "PATCH", "DELETE") and entry.event not in LOOKS and not dry


def record_of(entry: "Log") -> tuple[str, str]:
    """An entry's record in the audit trail: what identifies it, and its text.

    :raises AirflowNotFoundException: there is no connection that holds the key of the pseudonyms.
    """
    said, moment = _said(entry), (entry.dttm or dt.datetime.now(dt.UTC)).astimezone(dt.UTC).isoformat()
    asked = {"kind": "request", "name": entry.event, "about": _about(said)}
    record = Audited(
        dag_id=entry.dag_id or "",
        run_id=entry.run_id or "",
        task_id=entry.task_id or "",
        map_index=_index(said.get("map_index", entry.map_index)),
        try_number=0,
        owner=settings().airflow.owner,
        started=moment,
        ended=moment,
        state=REQUESTED,
        started_by=f"user:{pseudonym('user', entry.owner)}" if entry.owner else "unknown",
        code_version="",
        image="",
        image_digest="",
        inputs="[]",
        outputs=json.dumps([asked], sort_keys=True),
        error="",
    )
    # A database that is made anew counts from one again.
    number = hashlib.sha256(f"request:{entry.id}:{moment}".encode()).hexdigest()[:32]
    return number, json.dumps(json.loads(record.to_json()) | {"try_id": number}, sort_keys=True)


def take(session: "Session", now: dt.datetime, stored: set[int]) -> int:
    """Leave a record of each request since the last time; returns how many were not there yet.

    Safe beside others that do the same, and when it ends half-way: a record has the same name whoever leaves it, and
    the trail takes each name once.

    :param session: of Airflow's database; committed once all records are left.
    :param stored: ids of entries that this process has left a record of; kept up to date.
    :raises botocore.exceptions.BotoCoreError: the bucket cannot be reached; the next time begins where this one did.
    """
    from airflow.models.log import Log
    from sqlalchemy import or_, select

    mark = session.scalar(select(Log).where(Log.event == MARK).order_by(Log.id).limit(1))
    query = select(Log).where(or_(Log.event.startswith("cli_", autoescape=True), Log.extra.contains('"method"')))
    if mark is not None:
        query = query.where(Log.dttm > mark.dttm - OVERLAP)
    found = [entry for entry in session.scalars(query.order_by(Log.id)) if is_request(entry)]
    new = 0
    for entry in found:
        if entry.id not in stored:
            new += bucket.store(PREFIX, *record_of(entry), settings())
            stored.add(entry.id)
    stored.intersection_update(entry.id for entry in found)
    if mark is None:
        session.add(mark := Log(event=MARK, owner=settings().airflow.owner))
    mark.dttm = now
    session.commit()
    return new


def _said(entry: "Log") -> dict[str, Any]:
    try:
        said = json.loads(entry.extra or "{}")
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _about(said: Mapping[str, Any]) -> dict[str, Any]:
    about = {name: said[name] for name in ABOUT if _is_plain(said.get(name))}
    actions = said.get("actions")
    if isinstance(actions, list):
        about["actions"] = list(_changes(actions))
    return about


def _changes(actions: list[Any]) -> Iterator[dict[str, Any]]:
    """What a request about many things does to which of them."""
    for action in actions:
        if isinstance(action, dict) and isinstance(entities := action.get("entities"), list):
            names = [
                entity
                if isinstance(entity, str)
                else {name: entity[name] for name in NAMES if isinstance(entity.get(name), str)}
                for entity in entities
                if isinstance(entity, str | dict)
            ]
            yield {"action": str(action.get("action")), "entities": names}


def _is_plain(value: Any) -> bool:
    """Names, numbers, and lists of these."""
    if isinstance(value, list):
        return all(_is_plain(each) for each in value)
    return isinstance(value, str | int | bool)


def _index(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return -1
