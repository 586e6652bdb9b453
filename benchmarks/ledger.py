"""The next interval after a long history, against the tenth: hourly intervals of a topic with fifty partitions.

Two tables of one topic: nine intervals are closed in one, two years of them in the other. An interval is ingested and
published into each in turn, and one in the middle of the long history is run again, by one process that does nothing
else. What judging an interval takes does not look at history, and is left out.

Beside that, the look at a topic of hundreds of partitions with which each interval begins.
"""

import json
import tempfile
from pathlib import Path

from benchmarks.ingest import drop_tables
from include.stack.job import run_job
from include.stack.service import Platform

TOPIC = "bench.ledger"
SHORT, LONG = "bench.ledger_short", "bench.ledger_long"
#: Hourly intervals: two years.
HISTORY = 17_520
PARTITIONS = 50
MANY = 300


def measure(platform: Platform) -> dict[str, float]:
    """Median seconds of an interval, and how many times as long it takes after the history as after nine; of a look.

    :raises RuntimeError: a job fails; its log tells why.
    """
    look = _run(platform, "benchmarks.many_partitions", TOPIC, str(MANY))
    drop_tables(platform, SHORT, LONG)
    try:
        figures = _run(platform, "benchmarks.long_history", TOPIC, SHORT, LONG, str(HISTORY), str(PARTITIONS))
    finally:
        drop_tables(platform, SHORT, LONG)
    return figures | {
        "next_times_tenth": figures["next_s"] / figures["tenth_s"],
        "rerun_times_tenth": figures["rerun_s"] / figures["tenth_s"],
        f"look_at_{MANY}_partitions_s": look["look_s"],
    }


def _run(platform: Platform, module: str, *arguments: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        if run_job(platform, "ingest", ["-m", module, str(result), *arguments]):
            raise RuntimeError(f"the job of {module} has failed, see above")
        figures: dict[str, float] = json.loads(result.read_text(encoding="utf-8"))
    return figures
