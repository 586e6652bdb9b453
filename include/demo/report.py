"""What came out of the demonstration: `report.json`, `report.html` and a table in the terminal."""

import datetime as dt
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from include.config import Settings
from include.demo.airflow_api import DagRun, TaskInstance

if TYPE_CHECKING:
    from include.demo.run import Access

BASELINES = ("popularity", "own_frequency", "decayed_frequency")


@dataclass
class Outcome:
    """All that the demonstration has learnt so far; what it did not reach stays empty. Times in UTC."""

    settings: Settings
    setup_s: float
    began: dt.datetime
    ok: bool = False
    wall_s: float = 0.0
    at_rest_mib: float = 0.0
    peak_mib: float = 0.0
    reference: dict[str, Any] = field(default_factory=dict)
    produced: dict[str, Any] = field(default_factory=dict)
    intervals: list[dict[str, Any]] = field(default_factory=list)
    features: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    gate: dict[str, Any] = field(default_factory=dict)
    rollout: dict[str, Any] = field(default_factory=dict)
    drift: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    runs: list[DagRun] = field(default_factory=list)
    tasks: list[TaskInstance] = field(default_factory=list)
    sample: dict[str, Any] = field(default_factory=dict)
    curl: str = ""


def summary(outcome: Outcome) -> dict[str, Any]:
    """The content of `report.json`."""
    seconds = sum(row["seconds"] for row in outcome.intervals)
    read = sum(row["read"] for row in outcome.intervals)
    tables = outcome.features.get("tables", {})
    baselines = outcome.gate.get("baselines", {})
    recall = outcome.gate.get("recall_at_20")
    return {
        "ok": outcome.ok,
        "wall_s": round(outcome.wall_s, 1),
        "setup_s": round(outcome.setup_s, 1),
        "peak_memory_mb": round(outcome.peak_mib),
        "at_rest_memory_mb": round(outcome.at_rest_mib),
        "ingest": {
            "produced": outcome.produced.get("total", 0),
            "broken": outcome.produced.get("broken", 0),
            "read": read,
            "accepted": sum(row["accepted"] for row in outcome.intervals),
            "quarantined": sum(row["quarantined"] for row in outcome.intervals),
            "duplicates": sum(row["duplicates"] for row in outcome.intervals),
            "rows_per_s": round(read / seconds) if seconds else 0,
            "intervals": [
                {key: value for key, value in row.items() if key != "events_per_day"} for row in outcome.intervals
            ],
        },
        "features": {
            "tables": sorted(tables),
            "rows": sum(table["total_rows"] for table in tables.values()),
            "seconds": round(outcome.features.get("seconds", 0.0), 1),
        },
        "recommender": {
            "workers": outcome.settings.recommender.workers,
            "seconds": round(outcome.training.get("seconds", 0.0), 1),
            "model_version": outcome.gate.get("candidate_version"),
            "recall_at_20": None if recall is None else round(recall, 4),
            "baselines": {name: round(baselines[name], 4) if name in baselines else None for name in BASELINES},
        },
        "rollout": {
            "outcome": outcome.rollout.get("outcome"),
            "requests": outcome.rollout.get("requests", 0),
            "failed": outcome.rollout.get("failed", 0),
            "p99_ms": outcome.rollout.get("p99_ms"),
            "steps": outcome.rollout.get("steps", []),
        },
        "drift": {
            "features": outcome.drift.get("features", []),
            "drifted": outcome.drift.get("drifted"),
            "event": next((row for row in outcome.events if "drift" in str(row.get("uri", row.get("name")))), None),
        },
        "runs": [
            {
                "dag_id": run.dag_id,
                "run_id": run.run_id,
                "state": run.state,
                "duration_s": None if run.duration_s is None else round(run.duration_s, 2),
            }
            for run in outcome.runs
        ],
    }


def write_report(outcome: Outcome, access: "Access", output: Path, console: Console) -> None:
    """Write both files into `output`, and print the table."""
    report = summary(outcome)
    (output / "report.json").write_text(json.dumps(report, indent=2, default=str) + "\n", encoding="utf-8")
    if outcome.ok:
        # Matplotlib takes seconds to import, which a failed demonstration should not.
        from include.demo.page import render_page

        (output / "report.html").write_text(render_page(outcome, report, access.airflow_url), encoding="utf-8")
    console.print(_table(report))
    if outcome.ok:
        console.print(f"Report:  {output / 'report.html'}", highlight=False)
        console.print(
            f"Airflow: {access.airflow_url}  user {access.airflow_user}, password {access.airflow_password}",
            highlight=False,
        )
        console.print("Ask it:  " + outcome.curl, highlight=False, markup=False, soft_wrap=True)
        console.print("Stop it: make down", highlight=False)


def _table(report: dict[str, Any]) -> Table:
    ingest, features, recommender = report["ingest"], report["features"], report["recommender"]
    rollout, drift = report["rollout"], report["drift"]
    table = Table(title=f"Podium demonstration: {'all went well' if report['ok'] else 'NOT FINISHED'}")
    table.add_column("stage")
    table.add_column("outcome")
    scores = ", ".join(f"{name} {value}" for name, value in recommender["baselines"].items())
    drifted = [row["name"] for row in drift["features"] if row["drifted"]]
    stages = {
        "ingest": ingest["intervals"]
        and f"{ingest['produced']:,} produced = {ingest['read']:,} read = {ingest['accepted']:,} accepted + "
        f"{ingest['quarantined']:,} in quarantine + {ingest['duplicates']:,} duplicates, "
        f"{ingest['rows_per_s']:,} rows/s in the pods",
        "features": features["tables"]
        and f"{features['rows']:,} rows in {len(features['tables'])} tables, {features['seconds']} s",
        "recommender": recommender["recall_at_20"]
        and f"recall@20 {recommender['recall_at_20']} against {scores}; "
        f"{recommender['workers']} workers, {recommender['seconds']} s",
        "rollout": rollout["outcome"]
        and f"{rollout['outcome']}: {rollout['requests']:,} requests, {rollout['failed']} failed, "
        f"p99 {rollout['p99_ms']} ms",
        "drift": drift["features"]
        and f"{len(drifted)} of {len(drift['features'])} features: {', '.join(drifted) or 'none'}",
    }
    for stage, text in stages.items():
        table.add_row(stage, text or "not reached")
    table.add_row(
        "platform",
        f"{report['wall_s']} s in all, {report['setup_s']} s of it set-up and start; "
        f"memory {report['at_rest_memory_mb']} MB at rest, {report['peak_memory_mb']} MB at most",
    )
    return table
