"""The demonstration's report as one HTML page with its plots inside: it needs no network and no other file."""

import datetime as dt
import io
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no display is needed, nor asked for

from jinja2 import Environment, FileSystemLoader, select_autoescape
from markupsafe import Markup
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from include.demo.report import BASELINES, Outcome

COLOURS = {
    "ingest_transactions": "#4477aa",
    "build_features": "#228833",
    "train_recommender": "#ccbb44",
    "rollout_recommender": "#ee6677",
    "check_drift": "#aa3377",
}
NEUTRAL, STRONG = "#9aa5b1", "#4477aa"


def render_page(outcome: Outcome, report: dict[str, Any], airflow_url: str) -> str:
    """Return the page as HTML.

    :param outcome: what the demonstration gathered.
    :param report: the content of `report.json`.
    :param airflow_url: address of Airflow, for links.
    """
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=select_autoescape(["j2"]))
    plots = {
        "The pipeline, task by task": _timeline(outcome),
        "Events per day": _events(outcome),
        "recall@20 in December, against the baselines": _recall(report),
        "Canary: traffic, latency and requests by step": _canary(outcome),
        "Drift of the latest interval against the training data": _drift(outcome),
    }
    return environment.get_template("report.html.j2").render(
        report=report,
        plots={title: Markup(_svg(figure)) for title, figure in plots.items()},
        airflow_url=airflow_url,
        curl=outcome.curl,
        sample=outcome.sample,
        began=outcome.began,
    )


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight")
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _axes(height: float) -> tuple[Figure, Any]:
    figure, axes = plt.subplots(figsize=(10, height))
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _timeline(outcome: Outcome) -> Figure:
    tasks = sorted((task for task in outcome.tasks if task.start and task.end), key=lambda task: task.start or 0)
    figure, axes = _axes(max(3.0, 0.16 * len(tasks)))
    for row, task in enumerate(tasks):
        start = (task.start - outcome.began).total_seconds() if task.start else 0.0
        length = (task.end - task.start).total_seconds() if task.start and task.end else 0.0
        axes.barh(row, length, left=start, color=COLOURS.get(task.dag_id, NEUTRAL), height=0.8)
    axes.set_yticks(range(len(tasks)), [f"{task.dag_id}.{task.task_id}" for task in tasks], fontsize=6)
    axes.invert_yaxis()
    axes.set_xlabel("seconds since the demonstration began")
    return figure


def _events(outcome: Outcome) -> Figure:
    per_day: dict[str, int] = {}
    for interval in outcome.intervals:
        for day, count in interval.get("events_per_day", {}).items():
            per_day[day] = per_day.get(day, 0) + count
    days = sorted(per_day)
    figure, axes = _axes(2.8)
    axes.fill_between([dt.date.fromisoformat(day) for day in days], [per_day[day] for day in days], color=STRONG, lw=0)
    axes.set_ylabel("accepted events")
    axes.set_ylim(bottom=0)
    return figure


def _recall(report: dict[str, Any]) -> Figure:
    scores = {name.replace("_", " "): report["recommender"]["baselines"].get(name) or 0.0 for name in BASELINES}
    scores["this model"] = report["recommender"]["recall_at_20"] or 0.0
    figure, axes = _axes(2.4)
    bars = axes.barh(list(scores), list(scores.values()), color=[NEUTRAL] * len(BASELINES) + [STRONG])
    axes.bar_label(bars, fmt="%.4f", padding=4)
    axes.set_xlabel("recall@20, denominator min(20, purchases)")
    axes.set_xlim(0, max(scores.values()) * 1.15 or 1.0)
    axes.invert_yaxis()
    return figure


def _canary(outcome: Outcome) -> Figure:
    steps = outcome.rollout.get("steps", [])
    labels = [f"{step['traffic']} %" for step in steps]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 2.8))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("share of the traffic that the canary gets")
    bars = left.bar(labels, [step["requests"] for step in steps], color=STRONG)
    left.bar_label(bars, [f"{step['requests']}, {step['failed']} failed" for step in steps], padding=2)
    left.set_ylabel("requests to the canary")
    bars = right.bar(labels, [step["p99_ms"] or 0.0 for step in steps], color=STRONG)
    right.bar_label(bars, fmt="%.0f ms", padding=2)
    right.axhline(outcome.settings.rollout.max_p99_ms, color="#ee6677", ls="--", lw=1)
    right.set_ylabel("p99 latency, ms (dashed: limit)")
    return figure


def _drift(outcome: Outcome) -> Figure:
    features = sorted(outcome.drift.get("features", []), key=lambda row: row["statistic"])
    figure, axes = _axes(max(2.4, 0.3 * len(features)))
    colours = ["#ee6677" if row["drifted"] else NEUTRAL for row in features]
    axes.barh([row["name"] for row in features], [row["statistic"] for row in features], color=colours)
    axes.set_xlabel("test statistic; red: drifted at the corrected significance level")
    return figure
