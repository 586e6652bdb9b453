"""The GPU-hours ledger, first half: one small object in the lake's bucket for every try of a task that had GPUs.

The DAG `account_gpu_hours` folds the objects into the table `platform.gpu_hours`. The key follows from the try, and the
first one to write it wins: a try is recorded once, whoever reports its end (the task itself, the API when somebody
marks it, the scheduler when its process is dead).
"""

import datetime as dt
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow.listeners import hookimpl

from podium.listeners import bucket
from podium.listeners.tries import TryRecord
from podium.platform import settings

if TYPE_CHECKING:
    from include.config import Settings

log = logging.getLogger(__name__)

PREFIX: Final = "gpu-hours/"


@dataclass(frozen=True, kw_only=True)
class Usage(TryRecord):
    """What one try of a task had of a GPU pool, and for how long.

    :param gpus: those of all its pods: the slots that it took of the Airflow pool.
    :param seconds: from its start to its end, the wait for a node included: the pool could give them to nobody else.
    :param cost: US dollars, by the pool's price when it ended.
    """

    pool: str
    gpu_product: str
    gpus: int
    seconds: float
    cost: float

    @classmethod
    def of(cls, task_instance: Any, state: str, environment: "Settings") -> "Usage | None":
        """The usage of a try that has ended; None when it had no GPUs, or never began.

        :param task_instance: Airflow's, of the task's own process or of the database.
        :param environment: the settings, for the pool's product and price.
        """
        task = getattr(task_instance, "task", None)
        pool_name = getattr(task_instance, "pool", None) or getattr(task, "pool", None) or ""
        slots: int = getattr(task_instance, "pool_slots", 0) or getattr(task, "pool_slots", 0)
        pool, started = environment.node_pools.get(pool_name), task_instance.start_date
        if pool is None or not pool.total_gpus or started is None:
            return None
        ended = task_instance.end_date or dt.datetime.now(dt.UTC)
        seconds = max(0.0, (ended - started).total_seconds())
        return cls.build(
            task_instance,
            state,
            pool=pool_name,
            gpu_product=pool.gpu_product or "",
            gpus=slots,
            seconds=seconds,
            cost=seconds / 3600 * slots * pool.price_per_gpu_hour,
        )


class GpuHoursListener:
    """Records each try of a task that had GPUs when it ends."""

    @hookimpl
    def on_task_instance_success(self, task_instance: Any) -> None:
        """It succeeded, or was marked so."""
        self._record(task_instance, "success")

    @hookimpl
    def on_task_instance_failed(self, task_instance: Any) -> None:
        """It failed, is to be retried, was marked failed, or its process died."""
        self._record(task_instance, "failed")

    @hookimpl
    def on_task_instance_skipped(self, task_instance: Any) -> None:
        """It skipped itself."""
        self._record(task_instance, "skipped")

    def _record(self, task_instance: Any, state: str) -> None:
        usage = None
        try:
            usage = Usage.of(task_instance, state, settings())
            if usage is not None and bucket.store(PREFIX, usage.try_id, usage.to_json(), settings()):
                log.info("GPU-hours: %d %s for %.0f s", usage.gpus, usage.gpu_product, usage.seconds)
        except Exception as error:
            # An account that lacks a line is mended by hand; a task that fails for its account is not.
            log.error(
                "The GPU-hours of this try are not recorded (%s: %s). Check the connection %r and the lake's bucket, "
                "then put this as %s%s.json there: %s",
                type(error).__name__,
                error,
                settings().airflow.lake_connection_id,
                PREFIX,
                usage.try_id if usage else "TRY_ID",
                usage.to_json() if usage else "unknown",
            )
