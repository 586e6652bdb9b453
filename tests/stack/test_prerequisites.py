"""What the machine lacks is named at once, each thing with the command that installs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from include.stack import prerequisites
from tests.services import ROOT

BOOTSTRAP = ROOT / "include" / "stack" / "bootstrap.py"


def _missing(tmp_path: Path, **folders: Path) -> list[str]:
    home, cache = folders.get("home", tmp_path / "home"), folders.get("cache", tmp_path / "cache")
    return prerequisites.missing(ROOT, home, cache, set_up=True)


def test_this_machine_is_ready(tmp_path: Path) -> None:
    assert _missing(tmp_path) == []


def test_a_cache_that_pods_would_not_see(tmp_path: Path) -> None:
    (text,) = _missing(tmp_path, cache=tmp_path / "home" / "cache")
    assert "lies in the state folder" in text
    assert "PODIUM_CACHE=" in text


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    text = "\n".join(_missing(tmp_path))
    assert "C++ compiler is missing" in text
    assert "apt-get install -y g++ make" in text


def test_a_compiler_that_does_not_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\necho 'vector: No such file or directory' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    (text,) = _missing(tmp_path)
    assert "cannot compile a small program: vector: No such file" in text


def test_another_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 13, 1, "final", 0))
    (text,) = _missing(tmp_path)
    assert "Python 3.11 is needed" in text
    assert "3.13.1" in text
    assert "make PYTHON=" in text


def test_a_python_without_venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (text,) = _missing(tmp_path)
    assert "python3.11-venv" in text


def test_too_little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prerequisites, "SETUP_GIB", 2.0**30)
    (text,) = _missing(tmp_path)
    assert "cache folder" in text
    assert "GiB free" in text
    assert "PODIUM_CACHE=" in text


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (text,) = _missing(tmp_path, home=Path("/proc/podium"))
    assert "state folder /proc/podium cannot be written" in text
    assert "PODIUM_HOME=" in text


def test_all_at_once_and_nothing_is_built(tmp_path: Path) -> None:
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path), "PODIUM_HOME": "/proc/podium", "LC_ALL": "C.UTF-8"}
    outcome = subprocess.run(
        [sys.executable, BOOTSTRAP, "up"], env=environment, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("podium: this machine is not ready:")
    assert "C++ compiler" in outcome.stderr
    assert "/proc/podium" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert os.listdir(tmp_path) == []


def test_make_names_a_missing_python() -> None:
    outcome = subprocess.run(
        ["make", "up", "PYTHON=python3.11-is-not-here"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert outcome.returncode != 0
    assert "python3.11-is-not-here is missing. Install it: apt-get install" in outcome.stdout
