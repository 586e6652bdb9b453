"""The audit trail, first half: one small object in the lake's bucket for every try of a task that has ended.

The DAG `record_audit` appends the objects to the table `platform.audit`, a chain of hashes. The first record of a try
counts, whoever reports its end. Who started a run stands there as a pseudonym; a run's configuration, the text of an
error and the result of a job do not, because they may hold what people are known by.
"""

import json
import logging
import os
from dataclasses import dataclass
from typing import Any, Final

from airflow.listeners import hookimpl

from podium.lineage import reported
from podium.listeners import bucket
from podium.listeners.tries import TryRecord
from podium.platform import settings
from podium.pseudonyms import pseudonym

log = logging.getLogger(__name__)

PREFIX: Final = "audit/"


@dataclass(frozen=True, kw_only=True)
class Audited(TryRecord):
    """Who or what did what with what, and how it ended.

    :param started_by: `user:<pseudonym>`, `asset:<name>,…`, or the type of the run (`scheduled`, `backfill`, …).
    :param image: the reference that the task asked for; `image_digest` what the cluster ran, empty if it did not tell.
    :param inputs: JSON, see `podium.lineage`; so are `outputs`.
    :param error: the type of the error, without its text.
    """

    started_by: str
    code_version: str
    image: str
    image_digest: str
    inputs: str
    outputs: str
    error: str

    @classmethod
    def of(cls, task_instance: Any, state: str, error: Any = None) -> "Audited":
        """The record of a try that has ended.

        :param task_instance: Airflow's, of the task's own process or of the database.
        """
        task = getattr(task_instance, "task", None)
        work, image = reported(task), getattr(task, "image", None)
        return cls.build(
            task_instance,
            state,
            started_by=started_by(_run_of(task_instance)),
            code_version=os.environ.get("PODIUM_CODE_VERSION", "unknown"),
            image=image if isinstance(image, str) else work.image_id.partition("@")[0],
            image_digest=work.digest,
            inputs=json.dumps(work.inputs, sort_keys=True),
            outputs=json.dumps(work.outputs, sort_keys=True),
            error="" if error is None else error if isinstance(error, str) else type(error).__name__,
        )


def started_by(run: Any) -> str:
    """Who or what started a run."""
    user = getattr(run, "triggering_user_name", None)
    if user:
        return f"user:{pseudonym('user', user)}"
    names = sorted({event.asset.name for event in getattr(run, "consumed_asset_events", None) or ()})
    if names:
        return f"asset:{','.join(names)}"
    kind = getattr(run, "run_type", None)
    return str(getattr(kind, "value", kind) or "unknown")


def _run_of(task_instance: Any) -> Any:
    """Its run: of the database, or of the context that the task's process has been given."""
    run = getattr(task_instance, "dag_run", None)
    return run if run is not None else getattr(getattr(task_instance, "_ti_context_from_server", None), "dag_run", None)


class AuditListener:
    """Records each try of a task when it ends."""

    @hookimpl
    def on_task_instance_success(self, task_instance: Any) -> None:
        """It succeeded, or was marked so."""
        self._record(task_instance, "success")

    @hookimpl
    def on_task_instance_failed(self, task_instance: Any, error: Any) -> None:
        """It failed, is to be retried, was marked failed, or its process died."""
        self._record(task_instance, "failed", error)

    @hookimpl
    def on_task_instance_skipped(self, task_instance: Any) -> None:
        """It skipped itself."""
        self._record(task_instance, "skipped")

    def _record(self, task_instance: Any, state: str, error: Any = None) -> None:
        record = None
        try:
            record = Audited.of(task_instance, state, "" if isinstance(error, str) else error)
            bucket.store(PREFIX, record.try_id, record.to_json(), settings())
        except Exception as failure:
            # Work that is done is not undone because its record is missing; the record is in the log.
            log.error(
                "This try is not in the audit trail (%s: %s). Check the connections %r and %r and the lake's bucket, "
                "then put this as %s%s.json there: %s",
                type(failure).__name__,
                failure,
                settings().airflow.lake_connection_id,
                settings().airflow.pseudonyms_connection_id,
                PREFIX,
                record.try_id if record else "TRY_ID",
                record.to_json() if record else "unknown",
            )
