"""Customers that ask for recommendations, at a steady rate, until they are told to stop.

Requests start on schedule whether or not earlier ones are answered, and latency counts from the scheduled time:
a server that stalls cannot hide it by slowing its callers down.
"""

import asyncio
import json
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from include.jobs.shop.statistics import Statistics

_TIMEOUT_S = 10.0
_MAX_IN_FLIGHT = 1000
_WRITE_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """What to ask, where and how often. `url` is the whole address of the predict call; `rate` is per second.

    `key` is what the model server asks for.
    """

    url: str
    rate: float
    households: Sequence[int]
    out: Path
    k: int = 20
    seed: int = 7
    host: str | None = None
    duration_s: float | None = None
    key: str = field(default="", repr=False)


async def run(traffic: Traffic) -> dict[str, Any]:
    """Ask until SIGTERM or SIGINT (or `duration_s`), then wait for the answers under way.

    Returns:
        The statistics, as last written to `out`.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if traffic.duration_s is not None:
        loop.call_later(traffic.duration_s, stop.set)
    statistics = Statistics(traffic.rate)
    headers = {"Host": traffic.host} if traffic.host else {}
    if traffic.key:
        headers["Authorization"] = f"Bearer {traffic.key}"
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=_MAX_IN_FLIGHT)
    writer = asyncio.create_task(_write_regularly(traffic.out, statistics))
    try:
        async with aiohttp.ClientSession(timeout=timeout, connector=connector, headers=headers) as session:
            await _ask_on_schedule(traffic, session, statistics, stop)
    finally:
        writer.cancel()
    _write(traffic.out, statistics)
    return statistics.as_json()


async def _ask_on_schedule(
    traffic: Traffic, session: aiohttp.ClientSession, statistics: Statistics, stop: asyncio.Event
) -> None:
    choose = random.Random(traffic.seed).choice
    begun = time.monotonic()
    in_flight: set[asyncio.Task[None]] = set()
    number = 0
    while not stop.is_set():
        due = begun + number / traffic.rate
        number += 1
        if await _stopped_before(stop, due):
            break
        if len(in_flight) >= _MAX_IN_FLIGHT:
            statistics.add(due, "overload", None)
            continue
        task = asyncio.create_task(_ask(traffic, session, choose(traffic.households), due, statistics))
        in_flight.add(task)
        task.add_done_callback(in_flight.discard)
    if in_flight:
        await asyncio.wait(in_flight)


async def _stopped_before(stop: asyncio.Event, due: float) -> bool:
    """Wait for a moment of the monotonic clock; whether the stop came first."""
    wait = due - time.monotonic()
    if wait <= 0:
        # Behind schedule: let the answers in all the same.
        await asyncio.sleep(0)
        return stop.is_set()
    try:
        await asyncio.wait_for(stop.wait(), wait)
    except TimeoutError:
        return False
    return True


async def _ask(
    traffic: Traffic, session: aiohttp.ClientSession, household: int, due: float, statistics: Statistics
) -> None:
    question = {"instances": [{"household_id": household, "k": traffic.k}]}
    failure: str | None = None
    version: str | None = None
    try:
        async with session.post(traffic.url, json=question) as response:
            body = await response.read()
        if response.status == 200:
            version = _version(body)
            failure = None if version is not None else "bad_answer"
        else:
            failure = f"http_{response.status}"
    except TimeoutError:
        failure = "timeout"
    except aiohttp.ClientError as error:
        failure = type(error).__name__
    statistics.add(due, failure, version)


def _version(body: bytes) -> str | None:
    """The model version that answered; None when the answer holds no recommendation."""
    try:
        prediction = json.loads(body)["predictions"][0]
        return str(prediction["model_version"]) if prediction["products"] else None
    except (ValueError, KeyError, IndexError, TypeError):
        return None


async def _write_regularly(out: Path, statistics: Statistics) -> None:
    while True:
        _write(out, statistics)
        await asyncio.sleep(_WRITE_EVERY_S)


def _write(out: Path, statistics: Statistics) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    # Renamed into place: a reader never sees half a file.
    part = out.with_suffix(".part")
    part.write_text(json.dumps(statistics.as_json()), encoding="utf-8")
    part.replace(out)
