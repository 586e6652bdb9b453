"""A platform of its own for each test that starts one: its own folder, its own ports, gone afterwards."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from include.config import load_settings
from include.stack import processes
from include.stack.credentials import load
from include.stack.paths import Paths
from include.stack.service import Platform
from include.stack.supervisor import State, Supervisor
from tests.services import ROOT, free_ports, stack


@dataclass(frozen=True)
class Sandbox:
    """A platform in a folder of its own."""

    paths: Paths
    ports: dict[str, int]

    @property
    def environment(self) -> dict[str, str]:
        ports = {f"PODIUM_PORTS__{name.upper()}": str(port) for name, port in self.ports.items()}
        return {"PODIUM_HOME": str(self.paths.home), "PYTHONPATH": str(ROOT), **ports}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return stack(self.environment, *arguments)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "include.stack", *arguments],
            cwd=ROOT,
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def platform(self, monkeypatch: pytest.MonkeyPatch) -> Platform:
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        return Platform(load_settings("local"), self.paths, load(self.paths.credentials))

    def processes(self) -> list[psutil.Process]:
        return processes.of_platform(self.paths.home)


def _sandbox(folder: Path) -> Iterator[Sandbox]:
    # Too long for a Unix socket, and with all that a configuration file or a shell could stumble over.
    home = folder / f"a {'long ' * 20}home; 100% 'mine'" / "home"
    home.parent.mkdir()
    box = Sandbox(Paths(ROOT, home, Paths.from_environment().cache), free_ports())
    yield box
    outcome = box.run("down")
    assert outcome.returncode == 0, outcome.stdout
    assert box.processes() == []


def _started(sandbox: Sandbox) -> "Started":
    outcome = sandbox.run("up", "--only", *Started.NAMES)
    assert outcome.returncode == 0, outcome.stdout
    with pytest.MonkeyPatch.context() as patch:
        return Started(sandbox, Supervisor(sandbox.platform(patch)))


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """For tests that break it."""
    yield from _sandbox(tmp_path)


@pytest.fixture
def started(sandbox: Sandbox) -> "Started":
    """Postgres, S3 and the gateway, which start in a second or two, for tests that break them."""
    return _started(sandbox)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Started"]:
    """The same, for tests that leave it running."""
    for box in _sandbox(tmp_path_factory.mktemp("shared")):
        yield _started(box)


@dataclass(frozen=True)
class Started:
    """A sandbox with services that run."""

    sandbox: Sandbox
    supervisor: Supervisor
    NAMES = ("postgres", "s3", "gateway")

    def state(self, name: str) -> State:
        return self.supervisor.states()[name]

    def up_again(self) -> subprocess.CompletedProcess[str]:
        return self.sandbox.run("up", "--only", *self.NAMES)

    def kill_supervisor(self) -> None:
        pid = int((self.sandbox.paths.run / "supervisord.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not self.supervisor.alive())


def wait_for(condition: Callable[[], object], patience_s: float = 60.0) -> None:
    """Wait until a condition holds; fail when it does not come true in time."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"did not come true within {patience_s:.0f} s")
        time.sleep(0.05)
