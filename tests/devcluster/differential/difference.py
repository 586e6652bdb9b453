"""What is another in two answers, but for what may be."""

from __future__ import annotations

import json
from typing import Any

from tests.devcluster.differential.exceptions import tolerated
from tests.devcluster.differential.session import Answer


def differences(case: str, step: int, real: Answer, dev: Answer) -> list[str]:
    """Every part of the answers that is not the same, as `path: real | dev`."""
    wanted, given = tolerated(case, step, real), tolerated(case, step, dev)
    return list(_differences(wanted, given, ""))


def _differences(real: Any, dev: Any, path: str) -> list[str]:
    if isinstance(real, dict) and isinstance(dev, dict):
        found = []
        for key in sorted({*real, *dev}):
            here = f"{path}.{key}"
            if key not in dev or key not in real:
                found.append(f"{here}: {_said(real, key)} | {_said(dev, key)}")
            else:
                found += _differences(real[key], dev[key], here)
        return found
    if isinstance(real, list) and isinstance(dev, list) and len(real) == len(dev):
        return [
            text
            for place, (a, b) in enumerate(zip(real, dev, strict=True))
            for text in _differences(a, b, f"{path}[{place}]")
        ]
    return [] if real == dev else [f"{path}: {json.dumps(real)} | {json.dumps(dev)}"]


def _said(value: dict[str, Any], key: str) -> str:
    return json.dumps(value[key]) if key in value else "nothing"
