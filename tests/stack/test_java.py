"""Java is the system's when it fits, else one that comes with the packages."""

import subprocess
from pathlib import Path

import pytest

from include.stack import java


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH without Java; returns its only folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def fake_java(folder: Path, version: str) -> Path:
    """A program that describes itself as Java does."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "java"
    program.write_text(f"""#!/bin/sh
echo '    java.home = {folder.parent}
    java.specification.version = {version}' >&2
""")
    program.chmod(0o755)
    return program


def test_without_java_the_packaged_one_runs_and_takes_what_spark_asks_for(nothing: Path, tmp_path: Path) -> None:
    found = java.find(tmp_path / "cache")
    assert java.OLDEST <= found.version <= java.NEWEST
    assert found.home.is_relative_to(tmp_path / "cache")
    command = [found.program, "--add-modules=jdk.incubator.vector", "-Dgreeting=two words", "-version"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert str(found.version) in ran.stderr
    assert java.find(tmp_path / "cache") == found


@pytest.mark.parametrize(
    ("version", "fits"), [("1.8", False), ("11", False), ("17", True), ("21", True), ("25", False)]
)
def test_the_systems_java_is_taken_when_kafka_and_spark_run_on_it(
    nothing: Path, tmp_path: Path, version: str, fits: bool
) -> None:
    fake_java(nothing, version)
    found = java.find(tmp_path / "cache")
    assert (found.home == nothing.parent) == fits


def test_java_home_wins_over_the_path(nothing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_java(nothing, "21")
    chosen = fake_java(tmp_path / "chosen" / "bin", "17")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "chosen"))
    found = java.find(tmp_path / "cache")
    assert (found.program, found.version) == (chosen, 17)
