"""The event of a backfill: one for all that its runs have published, when the last of them has ended.

Which runs are a backfill's is what Airflow's database says (`dag_run.backfill_id`): their names do not tell, since a
run that is processed again keeps its own, and belongs to the backfill that took it last. Whether one is still to come
is told by its state, whatever made it so: a run that failed, was cancelled, deleted or marked by hand comes no more;
one that waits because the backfill or its DAG is paused does.

What the runs have published is kept by their announcing tasks (`podium.announcements.KEPT`) and taken away with the
event, in one transaction: whoever dies meanwhile, there is one event and no second.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from podium.announcements import KEPT, Announcement, together, told

if TYPE_CHECKING:
    from airflow.models.backfill import Backfill
    from airflow.models.dagrun import DagRun
    from airflow.sdk import Asset
    from airflow.serialization.definitions.assets import SerializedAssetUniqueKey
    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)

#: States of a run that is still to come.
TO_COME: Final = ("queued", "running")


def announce_ended(session: "Session") -> int:
    """Emit the events of all backfills that have ended and have something to announce; how many events.

    Safe beside others that do the same.

    :param session: of Airflow's database; each backfill is committed for itself.
    """
    return sum(_announce(backfill_id, session) for backfill_id in _waiting(session)) + _announce_lone(session)


def _waiting(session: "Session") -> Sequence[int]:
    """The backfills that have ended and have something to announce."""
    from airflow.models.dagrun import DagRun
    from airflow.models.xcom import XComModel
    from sqlalchemy import exists, select
    from sqlalchemy.orm import aliased

    other = aliased(DagRun)
    to_come = exists().where(other.backfill_id == DagRun.backfill_id, other.state.in_(TO_COME))
    query = select(DagRun.backfill_id).join(XComModel, XComModel.dag_run_id == DagRun.id)
    query = query.where(XComModel.key == KEPT, DagRun.backfill_id.is_not(None), ~to_come)
    return [number for number in session.scalars(query.distinct()) if number is not None]


def _announce(backfill_id: int, session: "Session") -> int:
    from airflow.models.backfill import Backfill
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    # Whoever else looks waits here, and then finds nothing left.
    backfill = session.scalar(select(Backfill).where(Backfill.id == backfill_id).with_for_update())
    runs = list(session.scalars(select(DagRun).where(DagRun.backfill_id == backfill_id)))
    if backfill is None or any(run.state in TO_COME for run in runs):
        session.rollback()
        return 0
    return _emit(runs, backfill, session)


def _announce_lone(session: "Session") -> int:
    """Those of runs whose backfill Airflow's database does not know any longer."""
    from airflow.models.dagrun import DagRun
    from airflow.models.xcom import XComModel
    from sqlalchemy import select

    query = select(DagRun).join(XComModel, XComModel.dag_run_id == DagRun.id)
    query = query.where(XComModel.key == KEPT, DagRun.backfill_id.is_(None), DagRun.state.not_in(TO_COME))
    runs = list(session.scalars(query.with_for_update(of=DagRun)))
    return sum(_emit([run], None, session) for run in runs)


def _emit(runs: Sequence["DagRun"], backfill: "Backfill | None", session: "Session") -> int:
    """One event for each asset that these runs have something to tell of."""
    from airflow.assets.manager import asset_manager
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from sqlalchemy import select

    by_id = {run.id: run for run in runs}
    query = select(XComModel).where(XComModel.key == KEPT, XComModel.dag_run_id.in_(by_id))
    kept = list(session.scalars(query.order_by(XComModel.timestamp)))
    last: dict[str, XComModel] = {}
    of_backfill: dict[str, bool] = defaultdict(bool)
    announcements = []
    for row in kept:
        announcement = Announcement.from_json(row.value)
        announcements.append(announcement)
        last[announcement.asset.name] = row
        of_backfill[announcement.asset.name] |= _is_of(by_id[row.dag_run_id], backfill)
        session.delete(row)
    failed = _failed(runs)
    found = together(announcements)
    for each in found:
        row = last[each.asset.name]
        task = session.scalar(
            select(TaskInstance).where(
                TaskInstance.dag_id == row.dag_id,
                TaskInstance.run_id == row.run_id,
                TaskInstance.task_id == row.task_id,
                TaskInstance.map_index == row.map_index,
            )
        )
        extra = told(each.intervals, backfill=of_backfill[each.asset.name], failed=failed)
        emit = partial(asset_manager.register_asset_change, task_instance=task, session=session)
        emit(asset=_key(each.asset), extra=extra)
        if each.partitioned is not None:
            for key in each.keys:
                emit(asset=_key(each.partitioned), partition_key=key)
        log.info("%s: announced %d interval(s) of %s", row.dag_id, len(each.intervals), each.asset.name)
    session.commit()
    return len(found)


def _key(asset: "Asset") -> "SerializedAssetUniqueKey":
    from airflow.serialization.definitions.assets import SerializedAssetUniqueKey

    return SerializedAssetUniqueKey(asset.name, asset.uri)


def _is_of(run: "DagRun", backfill: "Backfill | None") -> bool:
    """Whether the backfill ran it: one that was cleared after it had ended is run by whoever cleared it."""
    if backfill is None:
        return False
    return backfill.completed_at is None or run.queued_at is None or run.queued_at <= backfill.completed_at


def _failed(runs: Iterable["DagRun"]) -> dict[str, Any]:
    return {
        run.data_interval_start.isoformat(): run.data_interval_end.isoformat()
        for run in runs
        if run.state == "failed" and run.data_interval_start and run.data_interval_end
    }
