"""A job's result: one JSON object, where the orchestrator looks for it.

In a pod that file is `$PODIUM_XCOM_PATH`; where no side-car collects one (Spark, MPI), the result is an object
in the lake.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from include.jobs.lake.connections import Connections
from include.jobs.lake.errors import LakeError

RESULT_MARK = "PODIUM_RESULT "


def write_result(result: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> None:
    """Print the result as the line `PODIUM_RESULT {…}`, and write it to `$PODIUM_XCOM_PATH` when that is set.

    Where no side-car collects a result, the orchestrator takes it from the log.
    """
    environ = os.environ if environ is None else environ
    text = as_json(result)
    path = environ.get("PODIUM_XCOM_PATH", "")
    if path:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Written aside and renamed: a collector never sees half a file.
        part = target.with_suffix(".part")
        part.write_text(text, encoding="utf-8")
        part.replace(target)
    print(f"{RESULT_MARK}{text}", flush=True)


def write_object(uri: str, result: Mapping[str, Any], connections: Connections) -> None:
    """Write a result as JSON to `s3://bucket/key`."""
    path = _object_path(uri)
    with connections.filesystem().open_output_stream(path) as stream:
        stream.write(as_json(result).encode())


def as_json(result: Mapping[str, Any]) -> str:
    """The text of a result, which any reader of JSON takes: a float that is no number (NaN, an infinity) is null."""
    return json.dumps(_finite(result), sort_keys=True, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    # NumPy's double is a float too.
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_object(uri: str, connections: Connections) -> dict[str, Any]:
    """Read a result that `write_object` wrote.

    Raises:
        LakeError: there is none at that address.
    """
    value: dict[str, Any] = json.loads(read_text(uri, connections))
    return value


def read_text(uri: str, connections: Connections) -> str:
    """Read an object of `s3://bucket/key` as UTF-8.

    Raises:
        LakeError: there is none at that address.
    """
    path = _object_path(uri)
    try:
        with connections.filesystem().open_input_stream(path) as stream:
            text: str = stream.read().decode()
    except FileNotFoundError as error:
        raise LakeError(f"no result at {uri}: the job that writes it has not finished") from error
    return text


def _object_path(uri: str) -> str:
    parts = urlsplit(uri)
    if parts.scheme != "s3" or not parts.netloc or not parts.path.strip("/"):
        raise LakeError(f"{uri!r} is no object address: give s3://bucket/key")
    return f"{parts.netloc}{parts.path}"
