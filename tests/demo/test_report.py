"""The demonstration's report: complete when all went well, and written all the same when it did not."""

import datetime as dt
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from include.config import load_settings
from include.demo.airflow_api import DagRun, TaskInstance
from include.demo.report import Outcome, summary, write_report
from include.demo.run import Access

BEGAN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
ACCESS = Access(Path("kubeconfig"), "http://127.0.0.1:26800", "admin", "secret", Path("serving.header"))


def interval(month: int, read: int, quarantined: int) -> dict[str, object]:
    return {
        "interval_start": f"2017-{month:02}-01T05:00:00+00:00",
        "read": read,
        "accepted": read - quarantined,
        "quarantined": quarantined,
        "duplicates": 0,
        "seconds": 2.0,
        "rows_per_s": read / 2,
        "events_per_day": {f"2017-{month:02}-01": read - quarantined},
    }


@pytest.fixture
def outcome() -> Outcome:
    later = BEGAN + dt.timedelta(seconds=5)
    run = DagRun("ingest_transactions", "backfill__1", "success", BEGAN, BEGAN, later, BEGAN)
    return Outcome(
        settings=load_settings("local"),
        setup_s=3.0,
        began=BEGAN,
        ok=True,
        wall_s=10.04,
        peak_mib=4000.4,
        produced={"produced": 100, "present": 200, "total": 300, "broken": 3},
        intervals=[interval(1, 100, 1), interval(2, 200, 2)],
        features={
            "tables": {"features.users": {"total_rows": 5}, "features.items": {"total_rows": 7}},
            "seconds": 4,
        },
        training={"seconds": 9},
        gate={
            "candidate_version": "2",
            "recall_at_20": 0.33,
            "baselines": {"popularity": 0.12, "own_frequency": 0.3, "decayed_frequency": 0.32},
        },
        rollout={
            "outcome": "promoted",
            "requests": 90,
            "failed": 0,
            "p99_ms": 12.5,
            "steps": [{"traffic": 10, "requests": 90, "failed": 0, "p99_ms": 12.5}],
        },
        drift={"drifted": True, "features": [{"name": "spend", "statistic": 0.2, "p_value": 0.0, "drifted": True}]},
        events=[{"uri": "podium://monitoring/drift", "timestamp": BEGAN.isoformat()}],
        runs=[run],
        tasks=[TaskInstance("ingest_transactions", "backfill__1", "ingest", "success", 1, BEGAN, later)],
        curl="curl -s http://127.0.0.1/",
        sample={"predictions": []},
    )


def test_counts_are_summed_over_the_intervals(outcome: Outcome) -> None:
    report = summary(outcome)
    ingest = report["ingest"]
    assert (ingest["produced"], ingest["read"], ingest["accepted"], ingest["quarantined"]) == (300, 300, 297, 3)
    assert ingest["rows_per_s"] == 75
    assert report["features"] == {"tables": ["features.items", "features.users"], "rows": 12, "seconds": 4}
    assert report["recommender"]["recall_at_20"] == 0.33
    assert report["runs"] == [
        {"dag_id": "ingest_transactions", "run_id": "backfill__1", "state": "success", "duration_s": 5.0}
    ]


def test_report_is_a_json_file_a_page_and_a_table(outcome: Outcome, tmp_path: Path) -> None:
    console = Console(record=True, width=200)
    write_report(outcome, ACCESS, tmp_path, console)
    assert json.loads((tmp_path / "report.json").read_text())["ok"] is True
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 5
    assert "simulated" in page
    shown = console.export_text()
    assert "all went well" in shown
    assert "make down" in shown


def test_what_events_hold_is_text_and_the_page_loads_nothing(outcome: Outcome, tmp_path: Path) -> None:
    hostile = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>"
    outcome.sample = {"predictions": [hostile]}
    outcome.curl = hostile
    outcome.drift = {"features": [{"name": hostile, "statistic": 0.2, "p_value": 0.0, "drifted": True}]}
    write_report(outcome, ACCESS, tmp_path, Console(record=True))
    page = (tmp_path / "report.html").read_text()
    assert "default-src 'none'" in page
    assert not re.search(r"<(script|img|link|iframe|object)|[^:]href=\"(?!#|http://)|\bsrc=\"|url\(http|@import", page)
    assert re.findall(r"[^:]href=\"(http[^\"]*)", page) == [ACCESS.airflow_url]


def test_a_demonstration_that_failed_early_still_reports(tmp_path: Path) -> None:
    console = Console(record=True, width=200)
    write_report(Outcome(load_settings("local"), 1.0, BEGAN), ACCESS, tmp_path, console)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["ok"] is False
    assert report["ingest"]["read"] == 0
    assert report["recommender"]["baselines"] == dict.fromkeys(("popularity", "own_frequency", "decayed_frequency"))
    assert not (tmp_path / "report.html").exists()
    shown = console.export_text()
    assert "NOT FINISHED" in shown
    assert shown.count("not reached") == 5


def test_the_password_is_not_in_the_files(outcome: Outcome, tmp_path: Path) -> None:
    write_report(outcome, ACCESS, tmp_path, Console(record=True))
    assert all(ACCESS.airflow_password not in path.read_text() for path in tmp_path.iterdir())
    assert ACCESS.airflow_password not in repr(ACCESS)
