"""One container of a pod over all its runs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from include.devcluster.core.objects import Object, parse_time
from include.devcluster.core.status import ContainerState
from include.devcluster.runtime import cri
from include.devcluster.runtime.process import Process, VirtualProcess
from include.devcluster.runtime.shim import Spec

XCOM_SIDECAR = "airflow-xcom-sidecar"
"""Airflow's side-car is played by the server: its stop command signals every shell it can see."""

LONGEST_BACKOFF_S = 300.0
# Of a termination message, in bytes and in records: pkg/kubelet/container/helpers.go.
MESSAGE_LIMIT, MESSAGE_OF_LOG_LIMIT, MESSAGE_RECORDS = 4096, 2048, 80


@dataclass
class Lost:
    """Why a run that left no record is taken as failed."""

    reason: str = "ContainerStatusUnknown"
    message: str = "The container could not be located when the pod was terminated"


class Container:
    """Runs and state of one container.

    :param folder: `containers/<name>` in the pod's folder; one sub-folder a run.
    :param changed: called when a run has started or ended.
    :param logged: called when its log has grown.
    """

    def __init__(
        self,
        spec: Object,
        folder: Path,
        first_backoff_s: float,
        changed: Callable[[], None],
        logged: Callable[[], None],
    ) -> None:
        self.spec, self.name, self._folder = spec, str(spec["name"]), folder
        self._changed, self._logged = changed, logged
        self._first_backoff_s = first_backoff_s
        self.hold: tuple[str, str] | None = None
        """Reason and message for which the next run waits (image, configuration, back-off)."""
        self.hold_until = 0.0
        self.image_id = ""
        self.probed_ready = False
        self.probed_started = False
        self._pull_failures = 0
        self._ended: dict[str, Object] = {}
        attempts = sorted(int(p.name) for p in folder.iterdir()) if folder.is_dir() else []
        if attempts and not Process(folder / str(attempts[-1]), attempts[-1], changed, logged).begun():
            attempts.pop()  # the server was killed before it had started anything: the run is still to come
        self.process = self._make(attempts[-1]) if attempts else None
        if self.process:
            self.process.watch()

    def _make(self, attempt: int) -> Process:
        kind = VirtualProcess if self.virtual else Process
        return kind(self._folder / str(attempt), attempt, self._changed, self._logged)

    @property
    def virtual(self) -> bool:
        """Whether the server plays it."""
        return self.name == XCOM_SIDECAR

    @property
    def alive(self) -> bool:
        """Whether its present run has not ended."""
        return self.process is not None and self.process.alive()

    @property
    def running(self) -> bool:
        """Whether its command has been started and has not ended."""
        return self.alive and self.process is not None and self.process.started() is not None

    @property
    def exited(self) -> Object | None:
        """Record of the last run, if it has ended. A run that vanished without one gets one here."""
        if self.process is None:
            return None
        record = self.process.exited()
        if record is None and not self.process.alive():
            record = self.process.exited()  # it may have come between the two looks
            if record is None:
                lost = Lost()
                self.process.record_exit(137, lost.reason, lost.message)
                record = self.process.exited()
        return record

    def next_folder(self) -> Path:
        """Folder of the run to come."""
        return self._folder / str(self.process.attempt + 1 if self.process else 0)

    def start(self, spec: Spec) -> None:
        """Begin the next run."""
        attempt = self.process.attempt + 1 if self.process else 0
        for old in self._folder.iterdir() if self._folder.is_dir() else ():
            if int(old.name) < attempt - 1:  # the last run before this one stays for `logs --previous`
                shutil.rmtree(old, ignore_errors=True)
        self.hold, self.probed_ready, self.probed_started, self._pull_failures = None, False, False, 0
        self.process = self._make(attempt)
        self.process.start(spec)

    def refuse(self, reason: str, message: str, retry_s: float) -> None:
        """Put the next run off."""
        self.hold, self.hold_until = (reason, message), time.monotonic() + retry_s

    def pull_failed(self) -> float:
        """Seconds until the image is tried again."""
        self._pull_failures += 1
        return min(self._first_backoff_s * 2.0 ** (self._pull_failures - 1), LONGEST_BACKOFF_S)

    def restart_delay(self) -> float:
        """Seconds that the restart still has to wait: none the first time, then doubling up to five minutes."""
        record = self.exited
        if record is None or self.process is None or self.process.attempt == 0:
            return 0.0
        back_off = self.backoff()
        return max(0.0, back_off - (time.time() - parse_time(record["finishedAt"]).timestamp()))

    def backoff(self) -> float:
        """Seconds between the end of this run and the next."""
        attempt = self.process.attempt if self.process else 0
        return min(self._first_backoff_s * 2.0 ** min(attempt - 1, 10), LONGEST_BACKOFF_S)

    @property
    def log(self) -> Path | None:
        """Log of the present run."""
        return self.process.log if self.process else None

    @property
    def previous_log(self) -> Path | None:
        """Log of the run before, if there was one."""
        path = self._folder / str(self.process.attempt - 1) / "log" if self.process else None
        return path if path and path.exists() else None

    def state(self, waiting_reason: str) -> ContainerState:
        """The state to publish; `waiting_reason` is why it has not begun, when nothing better is known."""
        before = self._terminated(self._folder / str(self.process.attempt - 1)) if self.process else {}
        result = ContainerState({}, before, self.process.attempt if self.process else 0, image_id=self.image_id)
        held = {"reason": self.hold[0], "message": self.hold[1]} if self.hold else {"reason": waiting_reason}
        if self.process is None:
            result.state = {"waiting": held}
            return result
        result.container_id = f"devcluster://{self.process.folder.parents[2].name}/{self.name}/{self.process.attempt}"
        if self.exited is not None:
            ended = self._terminated(self.process.folder)
            if self.hold:
                result.state, result.last = {"waiting": held}, ended
            else:
                result.state = ended
        elif started := self.process.started():
            result.state = {"running": {"startedAt": _seconds(started["startedAt"])}}
            result.started = self.probed_started or "startupProbe" not in self.spec
            result.ready = result.started and (self.probed_ready or "readinessProbe" not in self.spec)
        else:
            result.state = {"waiting": {"reason": waiting_reason}}
        return result

    def _terminated(self, folder: Path) -> Object:
        """The terminated state of a run, {} where there is none."""
        if folder.name not in self._ended and (found := self._read_terminated(folder)):
            self._ended[folder.name] = found
        return self._ended.get(folder.name, {})

    def _read_terminated(self, folder: Path) -> Object:
        record = Process(folder, int(folder.name), self._changed, self._logged).exited()
        if record is None:
            return {}
        code = record["exitCode"]
        done: Object = {
            "exitCode": code,
            "reason": record.get("reason") or ("Completed" if code == 0 else "Error"),
            "startedAt": _seconds(record["startedAt"]),
            "finishedAt": _seconds(record["finishedAt"]),
            "containerID": f"devcluster://{folder.parents[2].name}/{self.name}/{folder.name}",
        }
        if message := record.get("message") or self._message(folder, code):
            done["message"] = message
        return {"terminated": done}

    def _message(self, folder: Path, code: int) -> str:
        """Termination message: the file the container wrote, or the end of its log where it asks for that."""
        path = folder / "termination-log"
        said = path.read_bytes()[-MESSAGE_LIMIT:] if path.exists() else b""
        if not said and code and self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            said = cri.tail(folder / "log", MESSAGE_RECORDS)[-MESSAGE_OF_LOG_LIMIT:]
        return said.decode(errors="replace")


def _seconds(moment: str) -> str:
    return moment.partition(".")[0] + "Z" if "." in moment else moment
