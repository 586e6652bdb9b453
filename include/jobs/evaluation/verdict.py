"""The gate's decision: pure, from figures to a verdict with reasons."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from include.jobs.ranking.errors import RankingError


class UnknownBaselineError(RankingError):
    """A required baseline has no figure."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the candidate may go on; `reasons` says why not, one sentence each, empty when passed."""

    passed: bool
    reasons: tuple[str, ...]


def judge(
    recall: float,
    baselines: Mapping[str, float],
    required: Sequence[str],
    min_lift: float,
    learned_until: dt.datetime | None,
    judged_from: dt.datetime,
) -> Verdict:
    """Decide.

    Args:
        recall: the candidate's recall@20.
        baselines: those of the baselines, by name.
        required: the baselines that must be beaten.
        min_lift: by how much, in recall; at 0, any more is enough.
        learned_until: end of the last month whose purchases the candidate was trained or tuned on, if any.
        judged_from: start of the judged month.

    Raises:
        UnknownBaselineError: a required baseline is not among `baselines`.
    """
    unknown = [name for name in required if name not in baselines]
    if unknown:
        raise UnknownBaselineError(f"no such baseline: {', '.join(unknown)}; known are {', '.join(sorted(baselines))}")
    reasons = []
    if learned_until is not None and learned_until > judged_from:
        reasons.append(
            f"it has learned from purchases up to {learned_until.isoformat()}, which reach into the judged month from "
            f"{judged_from.isoformat()}: train it on earlier cutoffs, or judge a later month"
        )
    for name in required:
        lift = recall - baselines[name]
        if lift <= 0 or lift < min_lift:
            reasons.append(
                f"recall@20 {recall:.4f} against {baselines[name]:.4f} of {name} is a lift of {lift:+.4f}; "
                f"{f'at least {min_lift:+.4f}' if min_lift else 'more than 0'} is required"
            )
    return Verdict(not reasons, tuple(reasons))
