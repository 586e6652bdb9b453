"""Registers Podium's listeners with Airflow, which loads every plugin of this folder in all its processes."""

from airflow.plugins_manager import AirflowPlugin
from podium.listeners.abandoned_work import AbandonedWorkListener
from podium.listeners.audit import AuditListener
from podium.listeners.backfills import BackfillListener
from podium.listeners.gpu_hours import GpuHoursListener
from podium.listeners.slow import SlowTaskListener
from podium.listeners.user_requests import UserRequestListener


class PodiumListeners(AirflowPlugin):
    """The audit trail, the GPU-hours ledger, the events of backfills, slow tasks, the end of abandoned work."""

    name = "podium_listeners"
    listeners = [  # noqa: RUF012 - as the base class has it
        AuditListener(),
        GpuHoursListener(),
        BackfillListener(),
        SlowTaskListener(),
        UserRequestListener(),
        AbandonedWorkListener(),
    ]
