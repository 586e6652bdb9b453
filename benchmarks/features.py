"""The features of the whole year, and of 5 and 20 times as many households: Spark beside DuckDB and Polars.

Each engine is a process of its own that reads the same Parquet files and writes the same tables; all must have the same
values as DuckDB's. Time is that of the work, a process's start left out; memory is the peak resident memory of the
process and its children. Spark and DuckDB may spill what their limits do not hold; Polars has no limit, and is ended at
`MOST_MB`. What an engine beside Spark needs more than there is, memory or disk, is a figure too.
"""

import errno
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
DUCKDB = "duckdb"
OTHERS = (DUCKDB, "polars")
POLL_SECONDS = 0.2
DRIVER_MEMORY = "2g"
THREADS = 2
#: An engine that takes more would take the machine with it.
MOST_MB = 12_000


class TooLargeError(RuntimeError):
    """An engine needs more than there is.

    :param figure: what ended it: `ended_at_mb` of memory, or `disk_full_at_mb`.
    :param megabytes: how much there was.
    """

    def __init__(self, figure: str, megabytes: float) -> None:
        super().__init__(f"{figure}: {megabytes:.0f}")
        self.figure, self.megabytes = figure, megabytes


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
    spark_s, memory = _run(
        platform, environments.images["features"].python, "spark", str(folder), spark=_spark(platform, folder)
    )
    yield "spark_s", spark_s
    yield "spark_peak_memory_mb", memory
    compared = ["spark"]
    for engine in OTHERS:
        try:
            seconds, memory = _run(platform, python, engine, str(folder))
        except TooLargeError as error:
            yield f"{engine}_{error.figure}", error.megabytes
        else:
            yield f"{engine}_s", seconds
            yield f"{engine}_peak_memory_mb", memory
            yield f"spark_to_{engine}", spark_s / seconds
            compared.append(engine)
    # The same answers, on all of the data: a difference is an error.
    if DUCKDB in compared:
        for engine in compared:
            if engine != DUCKDB:
                _run(platform, python, "compare", str(folder), "--with", engine)


def _spark(platform: Platform, folder: Path) -> Mapping[str, str]:
    options = f"--master local[{THREADS}] --driver-memory {DRIVER_MEMORY} pyspark-shell"
    where = {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_DIRS": str(folder)}
    return where | {"JAVA_HOME": str(platform.java.home), "PYSPARK_SUBMIT_ARGS": options}


def _run(
    platform: Platform, python: Path, *arguments: str, spark: Mapping[str, str] | None = None
) -> tuple[float, float]:
    """Seconds of the work, and peak resident memory in megabytes.

    :raises RuntimeError: it failed; the text has the end of what it told.
    :raises TooLargeError: it takes more than `MOST_MB`, and was ended; or has filled the disk.
    """
    scratch = arguments[1]
    free_mb = psutil.disk_usage(scratch).free / 2**20
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
            if peak > MOST_MB * 2**20:
                process.kill()
                process.wait()
                raise TooLargeError("ended_at_mb", MOST_MB)
            time.sleep(POLL_SECONDS)
        answer = process.stdout.read() if process.stdout else ""
        if process.returncode:
            told.seek(0)
            text = told.read()[-2000:]
            if os.strerror(errno.ENOSPC) in text:
                raise TooLargeError("disk_full_at_mb", free_mb)
            raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}: {text}")
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
