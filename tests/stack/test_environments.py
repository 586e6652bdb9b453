"""Environments come from their locks, and an interrupted set-up goes on where it was."""

import io
import subprocess
import threading
from pathlib import Path

import pytest
from rich.console import Console

from include.config import load_settings
from include.stack import graph, locks
from include.stack.environments import Environments
from include.stack.errors import BuildError, StackError
from include.stack.paths import Paths
from include.stack.progress import Progress
from include.stack.venvs import MARKER, SourceBuild, Spawner, Venv, lock_blocks
from tests.services import ROOT

REAL = Paths.from_environment().cache
OVERLAY = ROOT / "tests" / "overlay" / "requirements.lock"


@pytest.fixture
def uv() -> Path:
    return Venv("stack", ROOT / "include" / "stack" / "requirements.lock", REAL).bin / "uv"


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """One small package, which is in uv's cache already because every suite's pytest needs it."""
    path = tmp_path / "requirements.lock"
    path.write_text(lock_blocks(OVERLAY)["iniconfig"])
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache without environments, but with uv's own."""
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "uv").symlink_to(REAL / "uv")
    return folder


def test_an_environment_holds_what_its_lock_names(lock: Path, cache: Path, uv: Path, tmp_path: Path) -> None:
    venv = Venv("small", lock, cache)
    assert not venv.complete
    venv.build(uv, tmp_path / "log", Spawner())
    assert venv.complete
    subprocess.run([venv.python, "-c", "import iniconfig"], check=True)
    assert str(venv.site_packages / "iniconfig") in str(next(venv.site_packages.glob("iniconfig")))


def test_an_interrupted_one_is_made_anew(lock: Path, cache: Path, uv: Path, tmp_path: Path) -> None:
    venv = Venv("small", lock, cache)
    venv.path.mkdir(parents=True)
    (venv.path / "half").touch()
    said: list[str] = []
    venv.build(uv, tmp_path / "log", Spawner(), said.append)
    assert venv.complete
    assert not (venv.path / "half").exists()
    assert any("interrupted" in text for text in said)


def test_a_whole_one_is_left_alone(lock: Path, cache: Path, tmp_path: Path, uv: Path) -> None:
    venv = Venv("small", lock, cache)
    venv.build(uv, tmp_path / "log", Spawner())
    made = (venv.path / MARKER).stat().st_mtime_ns
    venv.build(Path("/no/uv/is/needed"), tmp_path / "log", Spawner())
    assert (venv.path / MARKER).stat().st_mtime_ns == made


def test_another_lock_makes_another_environment(lock: Path, cache: Path) -> None:
    before = Venv("small", lock, cache).path
    lock.write_text(lock.read_text() + "\n")
    assert Venv("small", lock, cache).path != before


def test_two_builders_take_turns(lock: Path, cache: Path, tmp_path: Path, uv: Path) -> None:
    venv = Venv("small", lock, cache)
    builders = [
        threading.Thread(target=venv.build, args=(uv, tmp_path / f"log{number}", Spawner())) for number in range(3)
    ]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert venv.complete
    assert sum((tmp_path / f"log{number}").exists() for number in range(3)) == 1


def test_what_a_build_leaves_over_is_dropped_when_all_are_there(lock: Path, uv: Path, tmp_path: Path) -> None:
    environments = Environments(Paths(ROOT, tmp_path / "home", tmp_path / "cache"), load_settings("local"))
    small = Venv("small", lock, environments.paths.cache)
    launcher = environments.launcher.path
    launcher.parent.mkdir(parents=True)
    launcher.symlink_to(uv.parents[1])
    left_over = environments.paths.cache / "uv" / "archive-v0" / "of-no-package"
    left_over.mkdir(parents=True)
    graph.run(environments.steps([small], Spawner()), Progress(Console(file=io.StringIO())), lambda: None)
    assert small.complete
    assert not left_over.exists()
    assert [step.name for step in environments.steps([small], Spawner())] == ["env:small"]


def test_a_wrong_hash_is_refused(lock: Path, cache: Path, tmp_path: Path, uv: Path) -> None:
    lock.write_text(f"{lock.read_text().split()[0]} --hash=sha256:{'0' * 64}\n")
    with pytest.raises(BuildError, match=r"(?i)hash"):
        Venv("small", lock, cache).build(uv, tmp_path / "log", Spawner())


def test_cancelling_ends_the_command_and_leaves_no_whole_environment(lock: Path, cache: Path, tmp_path: Path) -> None:
    slow = tmp_path / "uv"
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o755)
    spawner = Spawner()
    failures: list[BuildError] = []

    def build() -> None:
        try:
            Venv("small", lock, cache).build(slow, tmp_path / "log", spawner)
        except BuildError as error:
            failures.append(error)

    thread = threading.Thread(target=build, daemon=True)
    thread.start()
    while not (tmp_path / "log").exists():
        thread.join(0.01)
    spawner.cancel()
    thread.join(30)
    assert [str(error) for error in failures] == ["interrupted"]
    assert not Venv("small", lock, cache).complete


def test_what_is_compiled_must_be_in_the_lock(lock: Path, cache: Path, tmp_path: Path, uv: Path) -> None:
    with pytest.raises(BuildError, match="does not name horovod"):
        Venv("small", lock, cache, SourceBuild("horovod")).build(uv, tmp_path / "log", Spawner())


def test_a_missing_lock_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"requirements.lock is missing: restore it .*make lock"):
        _ = Venv("small", tmp_path / "requirements.lock", tmp_path).path


def test_the_repository_s_locks_are_fresh() -> None:
    locks.check(ROOT)


def test_a_changed_requirement_makes_its_lock_stale(tmp_path: Path) -> None:
    (tmp_path / "base.txt").write_text("iniconfig==2.1.0\n")
    wanted = tmp_path / "requirements.in"
    wanted.write_text("# a comment\n-r base.txt\n")
    lock = locks.Lock(wanted, tmp_path / "requirements.lock")
    lock.lock.write_text(f"# Locked from requirements.in (sha256 {lock.digest}); renew with `make lock`.\n")
    assert lock.stale() is None
    wanted.write_text("# another comment\n-r base.txt\n")
    assert lock.stale() is None
    (tmp_path / "base.txt").write_text("iniconfig==2.2.0\n")
    assert "was not made from requirements.in as it is now" in str(lock.stale())


def test_stale_locks_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "include").mkdir()
    (tmp_path / "requirements.txt").write_text("iniconfig==2.1.0\n")
    (tmp_path / "tests" / "requirements.in").write_text("iniconfig==2.1.0\n")
    (tmp_path / "include" / "jars.txt").write_text("org.example:thing:1.0\n")
    (tmp_path / "include" / "jars.lock").write_text("# Locked from jars.txt (sha256 0); renew with `make lock`.\n")
    with pytest.raises(StackError) as failure:
        locks.check(tmp_path)
    assert "requirements.lock is missing" in str(failure.value)
    assert "tests/requirements.lock is missing" in str(failure.value)
    assert "include/jars.lock was not made from jars.txt as it is now" in str(failure.value)
    assert "make lock" in str(failure.value)
