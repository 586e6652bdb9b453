"""`make test` runs suites side by side, tells of all of them, and leaves nothing behind when it is interrupted."""

import io
import os
import shutil
import signal
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from include.config import load_settings
from include.stack import testing
from include.stack.__main__ import parse
from include.stack.environments import Environments
from include.stack.errors import StackError
from include.stack.paths import Paths
from include.stack.testing import Suite

REAL = Environments(Paths.from_environment(), load_settings("local"))


@dataclass
class Checkout:
    """A folder with suites of its own."""

    environments: Environments

    @property
    def folder(self) -> Path:
        return self.environments.paths.checkout

    def suite(self, name: str, code: str) -> tuple[Suite, list[str]]:
        path = Path("tests") / name
        (self.folder / path).mkdir(parents=True)
        (self.folder / path / f"test_{name}.py").write_text(code)
        return Suite(path, REAL.launcher, REAL.pytest), [str(path)]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    (tmp_path / "include" / "stack").mkdir(parents=True)
    shutil.copy(REAL.launcher.lock, tmp_path / "include" / "stack")
    paths = Paths(checkout=tmp_path, home=tmp_path / "home", cache=REAL.paths.cache)
    return Checkout(Environments(paths, REAL.settings))


@pytest.mark.parametrize("command", ["test", "soak", "airflow"])
def test_options_of_another_program_may_come_first(command: str) -> None:
    arguments = ["-k", "name", "--repetitions", "2", "tests/config"]
    assert vars(parse([command, *arguments])) == {"command": command, "arguments": arguments}


def test_every_suite_is_run_and_told_whole(checkout: Checkout) -> None:
    # The first two wait for each other: they can only pass side by side.
    meet = """
import pathlib, time
def test_meets():
    pathlib.Path("{mine}").touch()
    while not pathlib.Path("{other}").exists():
        time.sleep(0.05)
"""
    picked = [
        checkout.suite("one", meet.format(mine="a", other="b")),
        checkout.suite("two", meet.format(mine="b", other="a")),
        checkout.suite("bad", "def test_bad():\n    assert 1 == 2\n"),
    ]
    output = io.StringIO()
    passed = testing.run(checkout.environments, picked, [], Console(file=output, width=160))
    told = output.getvalue()
    assert not passed
    assert told.count("1 passed") == 2
    assert "assert 1 == 2" in told
    assert [line.split()[:2] for line in told.splitlines()[-3:]] == [
        ["tests/one", "passed"],
        ["tests/two", "passed"],
        ["tests/bad", "failed"],
    ]


def test_what_a_test_leaves_in_the_folder_for_temporary_files_goes(checkout: Checkout) -> None:
    code = """
import pathlib, tempfile
def test_leaves():
    tempfile.NamedTemporaryFile(delete=False).close()
    pathlib.Path("folder").write_text(tempfile.gettempdir())
"""
    assert testing.run(checkout.environments, [checkout.suite("one", code)], [], Console(file=io.StringIO()))
    folder = Path((checkout.folder / "folder").read_text())
    assert folder != Path(tempfile.gettempdir())
    assert not folder.exists()


def test_an_interruption_lets_the_suites_clean_up(checkout: Checkout) -> None:
    code = """
import pathlib, tempfile, time, pytest
@pytest.fixture
def service():
    pathlib.Path("folder").write_text(tempfile.gettempdir())
    pathlib.Path("{name}.up").touch()
    yield
    pathlib.Path("{name}.down").touch()
def test_hangs(service):
    while True:
        time.sleep(0.05)
"""
    picked = [checkout.suite(name, code.format(name=name)) for name in ("one", "two", "never")]

    def interrupt() -> None:
        while not all((checkout.folder / f"{name}.up").exists() for name in ("one", "two")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        testing.run(checkout.environments, picked, [], Console(file=io.StringIO()))
    assert {path.name for path in checkout.folder.glob("*.down")} == {"one.down", "two.down"}
    assert not (checkout.folder / "never.up").exists()
    assert not Path((checkout.folder / "folder").read_text()).exists()


def test_an_interruption_ends_what_a_broken_off_clean_up_leaves(checkout: Checkout) -> None:
    code = """
import os, pathlib, subprocess, time, pytest
@pytest.fixture
def service():
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    pathlib.Path("pid.new").write_text(str(process.pid))
    pathlib.Path("pid.new").rename("pid")
    yield
    process.terminate()
def test_hangs(service):
    try:
        while True:
            time.sleep(0.05)
    except KeyboardInterrupt:
        os._exit(2)
"""
    picked = [checkout.suite("one", code)]

    def interrupt() -> None:
        while not (checkout.folder / "pid").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        testing.run(checkout.environments, picked, [], Console(file=io.StringIO()))
    _, alive = psutil.wait_procs(_running(int((checkout.folder / "pid").read_text())), timeout=10)
    assert not alive


def _running(pid: int) -> list[psutil.Process]:
    try:
        return [psutil.Process(pid)]
    except psutil.NoSuchProcess:
        return []


def test_what_failed_runs_again_and_what_crashed_runs_whole(checkout: Checkout) -> None:
    picked = [
        checkout.suite("good", "def test_good():\n    pass\n"),
        checkout.suite("bad", "def test_good():\n    pass\ndef test_bad():\n    assert 1 == 2\n"),
        checkout.suite("crash", "import os\ndef test_good():\n    pass\ndef test_crash():\n    os._exit(3)\n"),
    ]
    again = ["--last-failed", "--last-failed-no-failures=none"]
    assert not testing.run(checkout.environments, picked, [], Console(file=io.StringIO()))
    output = io.StringIO()
    assert not testing.run(checkout.environments, picked, again, Console(file=output, width=160))
    outcomes = [line.split() for line in output.getvalue().splitlines()[-3:]]
    assert [words[1:-1] for words in outcomes] == [["no", "test", "selected"], ["failed", "(1)"], ["failed", "(3)"]]
    assert "rerun previous 1 failure" in output.getvalue()


def test_a_path_that_belongs_to_no_suite_is_refused(checkout: Checkout) -> None:
    picked = [checkout.suite("one", "")[0]]
    with pytest.raises(StackError, match="tests/other belongs to no suite; there are tests/one"):
        testing.select(picked, ["tests/other"])
