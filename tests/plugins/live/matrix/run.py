"""Runs cells of the kill matrix: many tasks in flight, each in its phase, when one fault strikes them all."""

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from podium.identity import Identity
from podium.kinds import EXPERIMENT, MPI_JOB, SPARK_APPLICATION, TRAIN_JOB, WORKFLOW

from tests.plugins.cluster import Platform, wait_for
from tests.plugins.live.airflow import Airflow
from tests.plugins.live.matrix.cells import Cell
from tests.plugins.live.matrix.proxy import Hold, HoldingProxy
from tests.plugins.test_pod_operator import numbers

log = logging.getLogger(__name__)

KINDS = {
    "spark": SPARK_APPLICATION,
    "mpi": MPI_JOB,
    "train": TRAIN_JOB,
    "katib": EXPERIMENT,
    "argo": WORKFLOW,
}
# Their result is in their status.
WITHOUT_LOG_RESULT = frozenset({"katib", "argo"})
# For a machine that is busy with other tests: for one task, and further for each that is in flight beside it.
PATIENCE_S = 240
FURTHER_S = 20
GONE_S = 60
# Airflow's API server has its tasks to answer too.
POLL_S = 0.5
ROUND_S = 1.0


@dataclass
class Attempt:
    """One repetition of a cell."""

    cell: Cell
    repetition: int
    folder: Path
    hold: Hold | None = None
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    tries: int = 0
    problems: list[str] = field(default_factory=list)
    logs: list[list[str]] = field(default_factory=list, repr=False)

    @property
    def run_id(self) -> str:
        return f"{self.cell}-{self.repetition}"

    @property
    def name(self) -> str:
        """That of its object in the cluster."""
        return Identity(self.cell.dag_id, self.run_id, "work").name

    def record(self) -> dict[str, Any]:
        """What became of it, for the report; where there was a problem, with the logs of all tries."""
        kept = ("repetition", "seconds", "tries", "problems", *(["logs"] if self.problems else []))
        return {"cell": str(self.cell)} | {name: getattr(self, name) for name in kept}

    def open_gate(self) -> None:
        (self.folder / "gate").touch()


# Of an attempt's own process, which of the two is killed; other faults strike all attempts in one blow.
VICTIMS: dict[str, Callable[[int], int]] = {"task": lambda task: task, "supervisor": lambda task: _parent(task)}

# What the cells of a session have come to.
ATTEMPTS = pytest.StashKey[list[Attempt]]()


@dataclass
class Matrix:
    """What the cells run on.

    :param over: names of objects that are over; only of kinds whose controller is stood in for.
    """

    airflow: Airflow
    platform: Platform
    proxy: HoldingProxy
    folder: Path
    over: Collection[str]

    def strike(self, cells: list[Cell], repetitions: list[int]) -> list[Attempt]:
        """Bring the cells, which share a fault, into their phases, kill, and look what became of them.

        In odd repetitions the work goes on at once and may well end while nobody watches; in even ones only when
        what was killed is back.
        """
        attempts = [self._attempt(cell, number) for cell in cells for number in repetitions]
        try:
            self._strike(attempts)
        except (AssertionError, httpx.HTTPError) as error:
            for attempt in attempts:
                attempt.problems.append(f"cut short: {error!r}")
        return attempts

    def _strike(self, attempts: list[Attempt]) -> None:
        (fault,) = {attempt.cell.fault for attempt in attempts}
        with ExitStack() as stack:
            stack.callback(self._cordon, False)
            for attempt in attempts:
                stack.callback(self._let_go, attempt)
            self._cordon(True)
            began = time.monotonic()
            # A process that has its own killer need not wait for the others: what is held is held for a minute at most.
            victim = VICTIMS.get(fault)
            struck = self._bring_into_phase(attempts, victim)
            in_phase = time.monotonic()
            bring_back = partial(self._await_new_tries, struck) if victim else getattr(self, f"_kill_{fault}")()
            for attempt in attempts:
                if attempt.repetition % 2:
                    self._let_go(attempt)
                elif attempt.hold is not None:
                    self.proxy.release(attempt.hold)
            self._cordon(False)
            bring_back()
            back = time.monotonic()
            for attempt in attempts:
                self._let_go(attempt)
            end = self._patience(attempts)
            for attempt in attempts:
                self._finish(attempt, end)
            over = time.monotonic()
            for attempt in attempts:
                self._check(attempt)
            spans = (in_phase - began, back - in_phase, over - back, time.monotonic() - over)
            log.info(
                "%d struck by %s: in their phase after %.0f s, back %.0f s later, at the end %.0f s, checked %.0f s",
                *(len(struck), fault, *spans),
            )

    def _bring_into_phase(self, attempts: list[Attempt], victim: Callable[[int], int] | None) -> list[Attempt]:
        """Start all of them; returns those that are where they should be, their `victim` killed where there is one."""
        for attempt in attempts:
            self.airflow.run(attempt.cell.dag_id, attempt.run_id, {"phase": attempt.cell.phase})
        struck: list[Attempt] = []
        on_their_way = list(attempts)
        end = self._patience(attempts)
        while on_their_way and time.monotonic() < end:
            for attempt in [each for each in on_their_way if self._in_phase(each)]:
                task = self.airflow.task(attempt.cell.dag_id, attempt.run_id)
                if victim is not None and task["state"] not in ("running", "success", "failed"):
                    # Between two tries: a busy scheduler may have taken the first for dead.
                    continue
                on_their_way.remove(attempt)
                attempt.tries = task["try_number"]
                try:
                    if victim is not None:
                        assert task["state"] == "running", f"it is over: {task['state']}"
                        os.kill(victim(int(task["pid"])), signal.SIGKILL)
                    struck.append(attempt)
                except (AssertionError, OSError) as error:
                    attempt.problems.append(f"could not be struck: {error!r}")
            if on_their_way:
                time.sleep(ROUND_S)
        for attempt in on_their_way:
            attempt.problems.append(f"waited in vain for {attempt.run_id} to be {attempt.cell.phase}")
        return struck

    def _let_go(self, attempt: Attempt) -> None:
        attempt.open_gate()
        if attempt.hold is not None:
            self.proxy.release(attempt.hold)

    def _attempt(self, cell: Cell, repetition: int) -> Attempt:
        attempt = Attempt(cell, repetition, self.folder / f"{cell}-{repetition}")
        attempt.folder.mkdir(parents=True)
        if cell.phase in ("submitting", "collecting", "finishing"):
            attempt.open_gate()
            attempt.hold = self._hold(attempt)
        return attempt

    def _hold(self, attempt: Attempt) -> Hold:
        name, is_pod = attempt.name, attempt.cell.kind == "pod"
        if attempt.cell.phase == "submitting":
            # The object is there, and nobody knows.
            return self.proxy.hold("POST" if is_pod else "PATCH", name, "" if is_pod else "fieldManager", answered=True)
        if attempt.cell.phase == "collecting" and attempt.cell.kind in WITHOUT_LOG_RESULT:
            return self.proxy.hold("GET", f"/{name} ", answered=False, when=lambda: name in self.over)
        if attempt.cell.phase == "collecting":
            return self.proxy.hold("GET", name, "/exec" if is_pod else "tailLines=", answered=False)
        # The object is gone, and nobody knows.
        return self.proxy.hold("DELETE", f"/{name}", answered=True)

    def _in_phase(self, attempt: Attempt) -> bool:
        if attempt.hold is not None:
            return attempt.hold.reached.is_set()
        cell = attempt.cell
        awaited = {"sync": "running", "deferred": "deferred"}[cell.mode]
        task = self.airflow.task(cell.dag_id, attempt.run_id)
        if task["state"] != awaited:
            return False
        # A first attempt may have been lost already: on a busy machine a scheduler may be taken for dead.
        text = "\n".join(self.airflow.log(cell.dag_id, attempt.run_id, task["try_number"]))
        if cell.phase == "pending":
            return "Waiting: " in text and "Unschedulable" in text
        return len(numbers(text)) >= {"running": 5, "streaming": 30}[cell.phase]

    @staticmethod
    def _patience(attempts: list[Attempt]) -> float:
        """Until when they may take."""
        return time.monotonic() + PATIENCE_S + FURTHER_S * len(attempts)

    def _finish(self, attempt: Attempt, end: float) -> None:
        cell = attempt.cell
        try:
            wait_for(
                lambda: self.airflow.state(cell.dag_id, attempt.run_id) in ("success", "failed"),
                f"the end of {attempt.run_id}",
                max(end - time.monotonic(), 1),
                POLL_S,
            )
        except AssertionError as error:
            attempt.problems.append(str(error))
        attempt.seconds = time.monotonic() - attempt.began

    def _check(self, attempt: Attempt) -> None:
        cell, said = attempt.cell, attempt.problems.append
        task = self.airflow.task(cell.dag_id, attempt.run_id)
        attempt.tries = task["try_number"]
        logs = attempt.logs = [
            self.airflow.log(cell.dag_id, attempt.run_id, number + 1) for number in range(attempt.tries)
        ]
        if task["state"] != "success":
            said(f"it ended as {task['state']}; its last log:\n" + "\n".join(logs[-1][-30:]))
            return
        runs = len((attempt.folder / "runs").read_text().splitlines())
        if runs != 1:
            said(f"the job ran {runs} times")
        returned = self.airflow.result(cell.dag_id, attempt.run_id)
        result = self._job_result(attempt, returned)
        if (result.get("folder"), result.get("ran")) != (attempt.run_id, 1):
            said(f"the result is {returned!r}")
            return
        whole = list(range(result["lines"]))
        found = [numbers("\n".join(lines)) for lines in logs]
        for number, lines in enumerate(found, 1):
            if len(set(lines)) != len(lines):
                twice = sorted({line for line in lines if lines.count(line) > 1})
                said(f"the log of try {number} has lines twice: {twice[:10]} ({len(twice)})")
        # Where the result had been collected before, and its pod is gone, that attempt has the log.
        last = next((lines for lines in reversed(found) if lines), [])
        if sorted(set(last)) != whole:
            missing = sorted(set(whole) - set(last))
            files = self.airflow.log_files(cell.dag_id, attempt.run_id)
            said(f"the log lacks {len(missing)} of {len(whole)} lines: {missing[:10]}; its files: {files}")
        try:
            wait_for(lambda: not self._left(attempt), "nothing to be left", GONE_S, POLL_S)
        except AssertionError:
            said(f"left over: {self._left(attempt)}")

    @staticmethod
    def _job_result(attempt: Attempt, returned: Any) -> dict[str, Any]:
        """What the job has left, from what the task has returned; empty if it is not that."""
        if not isinstance(returned, dict):
            return {}
        if attempt.cell.kind == "argo":
            return dict(json.loads(returned["counted"]))
        if attempt.cell.kind == "katib":
            own = returned["trial"] == f"{attempt.name}-trial-0"
            return {name: int(value) for name, value in returned["metrics"].items()} | (
                {"folder": attempt.run_id} if own else {}
            )
        return returned

    def _left(self, attempt: Attempt) -> list[str]:
        found = [f"pod {name}" for name in self.platform.pods() if name.startswith(attempt.name)]
        kind = KINDS.get(attempt.cell.kind)
        if kind is not None and attempt.name in self.platform.objects(kind.group, kind.version, kind.plural):
            found.append(f"{kind.name} {attempt.name}")
        return found

    def _cordon(self, unschedulable: bool) -> None:
        answer = self.platform.api.patch(
            "/api/v1/nodes/spark-0",
            json={"spec": {"unschedulable": unschedulable}},
            headers={"Content-Type": "application/merge-patch+json"},
        )
        assert answer.status_code == 200, answer.text

    # Each kills, and returns what brings it back and waits until it is.

    def _kill_scheduler(self) -> Callable[[], None]:
        # With its workers, as where it runs in a container, and as the platform's start tidies up: each has a copy of
        # the scheduler's connections, and the database would go on holding its locks. The tasks are left to themselves.
        self.airflow.kill("scheduler")
        return partial(self._start_and_wait, "scheduler")

    def _kill_triggerer(self) -> Callable[[], None]:
        self.airflow.kill("triggerer")
        return partial(self._start_and_wait, "triggerer")

    def _kill_api(self) -> Callable[[], None]:
        self.platform.server.end(kill=True)
        self.platform.server.start()
        # Held requests are released only now: their connections are broken, as all others.
        return lambda: None

    def _start_and_wait(self, name: str) -> None:
        before = self._heartbeat(name)
        self.airflow.start(name)
        wait_for(lambda: self._heartbeat(name) > before, f"the {name} to be back", PATIENCE_S)

    def _heartbeat(self, name: str) -> str:
        answer = self.airflow.api.get(f"{self.airflow.url}/api/v2/monitor/health").json()[name]
        return str(answer[f"latest_{name}_heartbeat"] or "")

    def _await_new_tries(self, attempts: list[Attempt]) -> None:
        end = self._patience(attempts)
        for attempt in attempts:
            left = max(end - time.monotonic(), 1)
            try:
                wait_for(partial(self._is_taken_up, attempt), f"another try of {attempt.run_id}", left, POLL_S)
            except AssertionError as error:
                attempt.problems.append(str(error))

    def _is_taken_up(self, attempt: Attempt) -> bool:
        task = self.airflow.task(attempt.cell.dag_id, attempt.run_id)
        if task["state"] in ("success", "failed"):
            # Perhaps by a try that Airflow had given up, and that lives on.
            return True
        return task["try_number"] > attempt.tries and task["state"] in ("running", "deferred")


def _parent(pid: int) -> int:
    # The name, in parentheses, may hold anything; what follows it does not.
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
