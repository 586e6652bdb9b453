"""What is left of an answer when all is taken away that is another in every cluster and every run."""

from __future__ import annotations

import json
import re
from typing import Any

LONG = 20_000
"""Texts longer than that are shortened."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_AGE = re.compile(r"^(\d+[smhd])+$|^<unknown>$")
_SUFFIX = "[bcdfghjklmnpqrstvwxz2456789]{5}"
_VERSIONS = {"resourceVersion", "continue"}
_ADDRESSES = {"clusterIP", "clusterIPs"}
_NUMBERS = {"nodePort", "healthCheckNodePort"}


def normal(answer: Any, namespace: str, generated: str = "") -> Any:
    """The answer with names for what differs from run to run.

    :param generated: what a generated name begins with.
    """
    text = json.dumps(answer, ensure_ascii=False, default=_time_text)
    text = text.replace(namespace, "{ns}")
    if generated:
        text = re.sub(re.escape(generated) + _SUFFIX, f"{generated}{{suffix}}", text)
    text = _TIME.sub("{time}", _UUID.sub("{uid}", text))
    return _walk(json.loads(text), "")


def _time_text(value: Any) -> str:
    """YAML reads times as such."""
    return str(value.strftime("%Y-%m-%dT%H:%M:%SZ"))


def _walk(value: Any, field: str) -> Any:
    if isinstance(value, dict):
        made = {key: _walk(inner, key) for key, inner in value.items()}
        return made
    if isinstance(value, list):
        return [_walk(inner, field) for inner in value]
    if isinstance(value, str) and len(value) > LONG:
        return f"{value[:40]}…{len(value)}"
    if field in _VERSIONS and value not in ("", "0"):
        return f"{{{field}}}"
    if field in _NUMBERS and value:
        return f"{{{field}}}"
    if field in _ADDRESSES and value != "None":
        return "{address}"
    if field == "cells" and isinstance(value, str) and _AGE.match(value):
        return "{age}"
    return value
