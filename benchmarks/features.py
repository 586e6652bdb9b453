"""The features of the whole year, and of 5 and 20 times as many households: Spark beside DuckDB and Polars.

Each engine is a process of its own that reads the same Parquet files and writes the same tables; Spark's must have the
same values as DuckDB's. Time is that of the work, a process's start left out; memory is the peak resident memory of the
process and its children.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from include.config import load_settings
from include.stack.credentials import load
from include.stack.paths import Paths
from include.stack.service import Platform

SCALES = (1, 5, 20)
ENGINES = ("spark", "duckdb", "polars")
POLL_SECONDS = 0.2
DRIVER_MEMORY = "2g"
THREADS = 2


def measure(scales: Sequence[int] = SCALES) -> dict[str, float]:
    """Seconds and megabytes by engine and scale, and how many times longer than the others Spark takes."""
    paths = Paths.from_environment()
    platform = Platform(load_settings(), paths, load(paths.credentials))
    figures: dict[str, float] = {}
    folder = paths.checkout / "build" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    for scale in scales:
        # Some gigabytes at 20 times the data: below the checkout, because /tmp may be memory.
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            figures |= {f"{name}_{scale}x": value for name, value in _one(platform, Path(scratch), scale)}
    return figures


def _one(platform: Platform, folder: Path, scale: int) -> Iterator[tuple[str, float]]:
    environments = platform.environments
    python = environments.benchmarks.python
    _run(platform, python, "data", str(folder), "--scale", str(scale))
    seconds = {}
    for engine in ENGINES:
        if engine == "spark":
            seconds[engine], memory = _run(
                platform, environments.images["features"].python, engine, str(folder), spark=_spark(platform)
            )
        else:
            seconds[engine], memory = _run(platform, python, engine, str(folder))
        yield f"{engine}_s", seconds[engine]
        yield f"{engine}_peak_memory_mb", memory
    # The same answers, on all of the data: a difference is an error.
    _run(platform, python, "compare", str(folder))
    yield "spark_to_duckdb", seconds["spark"] / seconds["duckdb"]
    yield "spark_to_polars", seconds["spark"] / seconds["polars"]


def _spark(platform: Platform) -> Mapping[str, str]:
    options = f"--master local[{THREADS}] --driver-memory {DRIVER_MEMORY} pyspark-shell"
    return {"JAVA_HOME": str(platform.java.home), "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_SUBMIT_ARGS": options}


def _run(
    platform: Platform, python: Path, *arguments: str, spark: Mapping[str, str] | None = None
) -> tuple[float, float]:
    """Seconds of the work, and peak resident memory in megabytes.

    :raises RuntimeError: it failed; the text has the end of what it told.
    """
    scratch = arguments[1]
    environment = platform.base_environment() | dict(spark or {})
    environment |= {"PYTHONPATH": str(platform.paths.checkout), "POLARS_MAX_THREADS": str(THREADS), "TMPDIR": scratch}
    environment["PATH"] = f"{python.parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
    with tempfile.TemporaryFile("w+", dir=scratch) as told:
        process = subprocess.Popen(
            [python, "-m", "benchmarks.engines", *arguments],
            cwd=scratch,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=told,
            text=True,
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, _resident(process.pid))
            time.sleep(POLL_SECONDS)
        answer = process.stdout.read() if process.stdout else ""
        if process.returncode:
            told.seek(0)
            raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}: {told.read()[-2000:]}")
    return float(json.loads(answer.splitlines()[-1])["seconds"]), peak / 2**20


def _resident(pid: int) -> int:
    """Resident bytes of a process and its children."""
    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    total = 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total
