"""Waiting in the worker: what Airflow's alarm does to it, wherever it goes off."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowTaskTimeout
from airflow.sdk.execution_time.timeout import timeout
from airflow.triggers.base import TriggerEvent
from podium.triggers.work import run_here


class Waiting:
    """A trigger that waits for ever, while something beside it keeps the loop busy."""

    def __init__(self) -> None:
        self.stopped = False

    async def run(self) -> AsyncIterator[TriggerEvent]:
        beside = asyncio.create_task(self._busy())
        try:
            await asyncio.Event().wait()
            yield TriggerEvent({})  # type: ignore[no-untyped-call]
        finally:
            beside.cancel()
            self.stopped = True

    async def _busy(self) -> None:
        while True:
            until = time.monotonic() + 0.05
            while time.monotonic() < until:
                pass
            await asyncio.sleep(0)


def test_an_alarm_during_other_work_of_the_loop_ends_the_wait() -> None:
    trigger: Any = Waiting()

    def wait() -> None:
        with timeout(1):
            run_here(trigger)

    with pytest.raises(AirflowTaskTimeout):
        wait()
    assert trigger.stopped
