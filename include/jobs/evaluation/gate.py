"""Judging a registered candidate on a month of the lake."""

import datetime as dt
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from include.jobs.evaluation.verdict import Verdict, judge
from include.jobs.lake import lineage
from include.jobs.lake.catalog import open_catalog
from include.jobs.lake.tables import FEATURES_INTERACTIONS, FEATURES_SERVING
from include.jobs.ranking.features import ProductHabits
from include.jobs.ranking.interactions import Floats, Interactions, Ints
from include.jobs.ranking.lists import Purchases, RankedLists, popular_products, rank, recall_at_k
from include.jobs.ranking.model import Candidates, RankerModel, own_frequency
from include.jobs.ranking.registry import CHAMPION, Registry, RunRecord
from include.jobs.ranking.source import month_bounds, read_interactions, read_purchases, snapshot_ids

K = 20

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GateRequest:
    """What is judged, and how strictly.

    Attributes:
        candidate: a version, or `@alias`.
        cutoff: first day of the judged month; features know only what was before it.
        required: the baselines that must be beaten (also `champion`: the model in production).
        min_lift: by how much, in recall.
        timezone: of the shops.
        experiment: where the baseline's run is logged when there is no champion yet.
        identity: who asks for it, for the baseline's run.
    """

    candidate: str
    cutoff: dt.date
    required: tuple[str, ...]
    min_lift: float
    timezone: ZoneInfo
    experiment: str
    identity: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class JudgedMonth:
    """What was known before the cutoff, and what was bought in the month after it."""

    rows: Interactions
    purchases: Purchases
    popular: Ints
    snapshots: Mapping[str, int]

    def recall(self, scores: Floats) -> float:
        """Recall@20 of own products by these scores (N,), filled up with popular products."""
        return recall_at_k(rank(self.rows, scores, K, self.popular), self.purchases).value

    def recall_of(self, model: RankerModel) -> float:
        """Recall@20 of a model, scoring this month's features (not the candidates that it was saved with)."""
        return self.recall(model.ranker.score_rows(self.rows, ProductHabits.of(self.rows)))

    def baselines(self) -> dict[str, float]:
        """Recall@20 of what needs no model.

        - popularity: what was bought most in the 90 days before the cutoff, the same for all;
        - own_frequency: what the household bought in most baskets;
        - decayed_frequency: the same, each basket counting half as much every 90 days.
        """
        households = self.rows.households
        everybody = RankedLists(households, np.tile(self.popular[:K], (len(households), 1)))
        return {
            "popularity": recall_at_k(everybody, self.purchases).value,
            "own_frequency": self.recall(self.rows.columns["purchases"]),
            "decayed_frequency": self.recall(self.rows.columns["decay_90"]),
        }


def run_gate(registry: Registry, request: GateRequest) -> dict[str, Any]:
    """Judge the candidate; make the own-frequency baseline the champion first when there is none.

    Raises:
        RankingError: candidate, features or purchases are not there.
    """
    started = time.monotonic()
    version = str(registry.version(request.candidate).version)
    month = _read(request)
    champion = registry.alias(CHAMPION) or _first_champion(registry, request, month)
    recall = month.recall_of(registry.load(version))
    baselines = month.baselines() | {"champion": month.recall_of(registry.load(champion))}
    judged_from, _ = month_bounds(request.cutoff, request.timezone)
    learned_to = registry.run_tags(version).get("labels_to")
    verdict = judge(
        recall,
        baselines,
        request.required,
        request.min_lift,
        dt.datetime.fromisoformat(learned_to) if learned_to else None,
        judged_from,
    )
    _record(registry, version, request, recall, baselines, verdict)
    champion_recall = baselines.pop("champion")
    judged = {FEATURES_INTERACTIONS: len(month.rows.household_id)}
    _log.info("version %s: recall@20 %.4f, %s", version, recall, "passed" if verdict.passed else "refused")
    return {
        "passed": verdict.passed,
        "reasons": list(verdict.reasons),
        "candidate_version": version,
        "champion_version": champion,
        "recall_at_20": recall,
        "champion_recall_at_20": champion_recall,
        "baselines": baselines,
        "cutoff": request.cutoff.isoformat(),
        "households": len(np.intersect1d(month.rows.households, month.purchases.household_id)),
        "snapshots": {name: str(number) for name, number in month.snapshots.items()},
        "seconds": round(time.monotonic() - started, 2),
    } | lineage.datasets(
        [
            *(lineage.model(registry.model_name, number) for number in (version, champion)),
            *(lineage.table(name, number, judged.get(name)) for name, number in month.snapshots.items()),
        ]
    )


def _read(request: GateRequest) -> JudgedMonth:
    catalog = open_catalog()
    snapshots = snapshot_ids(catalog)
    # With labels only because they are missing when the month is not complete, and then it must not be judged.
    rows = read_interactions(catalog, request.cutoff, snapshots["features.interactions"], labels=True)
    purchases = read_purchases(catalog, request.cutoff, request.timezone, snapshots["sales.transactions"])
    return JudgedMonth(rows, purchases, popular_products(rows, 2 * K)[0], snapshots)


def _first_champion(registry: Registry, request: GateRequest, month: JudgedMonth) -> str:
    """Register the baseline as champion, so that from the first rollout on there is a way back."""
    ranker = own_frequency()
    facts = {"feature_view": str(month.snapshots[FEATURES_SERVING])}
    model = RankerModel("own_frequency", ranker, request.cutoff, Candidates.of(ranker, month.rows), facts)
    snapshots = {f"snapshot.{name}": str(number) for name, number in month.snapshots.items()}
    known_until, _ = month_bounds(request.cutoff, request.timezone)
    record = RunRecord(
        name="own-frequency",
        parameters={"cutoff": request.cutoff.isoformat(), "baseline": "own_frequency"},
        tags={**request.identity, **snapshots, "known_until": known_until.isoformat()},
    )
    run_key = f"own-frequency-{request.cutoff}-{month.snapshots['features.interactions']}"
    version = str(registry.register(request.experiment, run_key, record, model, alias=CHAMPION).version)
    _log.info("there was no champion: version %s, the own-frequency baseline, is it now", version)
    return version


def _record(
    registry: Registry,
    version: str,
    request: GateRequest,
    recall: float,
    baselines: Mapping[str, float],
    verdict: Verdict,
) -> None:
    metrics = {f"{name}_recall_at_20": value for name, value in baselines.items()}
    registry.log_metrics(version, {"recall_at_20": recall} | metrics)
    registry.tag_version(
        version,
        {
            "gate": "passed" if verdict.passed else "refused",
            "gate.cutoff": request.cutoff.isoformat(),
            "gate.reasons": "; ".join(verdict.reasons),
            "gate.recall_at_20": f"{recall:.6f}",
        },
    )
