"""The answers of a real cluster, a file for each topic."""

from __future__ import annotations

import json
from pathlib import Path

from tests.devcluster.differential.session import Answer

FOLDER = Path(__file__).parent / "recorded"


def read(topic: str) -> dict[str, list[Answer]]:
    """Answers by case."""
    path = FOLDER / f"{topic}.json"
    found: dict[str, list[Answer]] = json.loads(path.read_text()) if path.exists() else {}
    return found


def write(topic: str, answers: dict[str, list[Answer]]) -> None:
    """An answer a line, so that a change is easy to read."""
    FOLDER.mkdir(exist_ok=True)
    lines = []
    for name, given in answers.items():
        inner = ",\n".join(f"  {json.dumps(answer, sort_keys=True, separators=(',', ':'))}" for answer in given)
        lines.append(f" {json.dumps(name)}: [\n{inner}\n ]")
    (FOLDER / f"{topic}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
