"""The network's inputs, derived from a household's history and from that of its products.

Everything is computed from rows of one cutoff, so nothing from after the cutoff can enter. Most inputs are
logarithms: counts, spend and days are spread over orders of magnitude.
"""

from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt

from include.jobs.ranking.interactions import Bools, Floats, Interactions, Ints

Matrix: TypeAlias = npt.NDArray[np.float32]

_LOGGED = (
    "purchases",
    "quantity",
    "spend",
    "days_since_last",
    "days_since_first",
    "purchases_30",
    "purchases_90",
    "user_baskets",
    "user_products",
    "user_days_since_last",
    "item_households",
    "item_purchases_30",
    "item_purchases_90",
)
_DECAYS = ("decay_15", "decay_30", "decay_60", "decay_90", "decay_180")
_RANKED = ("purchases", "decay_30", "decay_90", "decay_180")

#: Keeps the logarithm of a faded decay finite.
_FADED = 1e-3
#: Prior of a product's mean log gap (about a month), and how many households' gaps it weighs.
_PRIOR_GAP, _PRIOR_WEIGHT = 3.5, 5.0

FEATURES = (
    *_LOGGED,
    *(f"log_{name}" for name in _DECAYS),
    "gap",
    "bought_once",
    "item_trend",
    "basket_share",
    "overdue",
    "since_household_last",
    "item_repeat_share",
    "item_mean_purchases",
    "item_mean_decay",
    "item_recent_share",
    "item_gap",
    "item_overdue",
    "user_recent_purchases",
    "user_purchases",
    "user_tempo",
    "relative_decay_90",
    *(f"rank_{name}" for name in _RANKED),
)
"""Names of the columns of `design_matrix`, in order."""


@dataclass(frozen=True, slots=True)
class ProductHabits:
    """How households in general buy each of P products, from all rows of a cutoff.

    Attributes:
        product_id: (P,), ascending.
        repeat_share: (P,) log share of buyers who bought it again, smoothed.
        mean_purchases: (P,) log mean purchases a buyer.
        mean_decay: (P,) log mean 90-day decayed purchases a buyer.
        gap: (P,) mean log(1 + days between purchases), smoothed.
    """

    product_id: Ints
    repeat_share: Floats
    mean_purchases: Floats
    mean_decay: Floats
    gap: Floats

    @classmethod
    def of(cls, rows: Interactions) -> Self:
        """Take the habits from all households' rows (never from a part of them)."""
        product_id, of_row = np.unique(rows.product_id, return_inverse=True)
        buyers = np.bincount(of_row, minlength=len(product_id)).astype(np.float64)

        def total(values: Floats | Bools) -> Floats:
            sums: Floats = np.bincount(of_row, weights=values.astype(np.float64), minlength=len(product_id)).astype(
                float
            )
            return sums

        gap = rows.columns["mean_gap_days"]
        known = np.isfinite(gap)
        gaps = total(np.log1p(np.where(known, np.maximum(gap, 0.0), 0.0)))
        return cls(
            product_id=product_id,
            repeat_share=np.log((total(rows.columns["purchases"] > 1) + 1.0) / (buyers + 10.0)),
            mean_purchases=np.log((total(rows.columns["purchases"]) + 1.0) / (buyers + 1.0)),
            mean_decay=np.log((total(rows.columns["decay_90"]) + 0.3) / (buyers + 1.0)),
            gap=(gaps + _PRIOR_WEIGHT * _PRIOR_GAP) / (total(known) + _PRIOR_WEIGHT),
        )


def design_matrix(rows: Interactions, habits: ProductHabits) -> Matrix:
    """The inputs of each row, (N, len(FEATURES)), not yet standardised.

    `habits` must come from all rows of the same cutoff; `rows` may be those of some households, each whole.
    """
    columns, starts, segments = rows.columns, rows.starts, rows.segments
    product = np.searchsorted(habits.product_id, rows.product_id)
    since_last = np.log1p(columns["days_since_last"])
    once = ~np.isfinite(columns["mean_gap_days"])
    gap = np.log1p(np.where(once, columns["days_since_first"], columns["mean_gap_days"]))

    def of_household(totals: Floats) -> Floats:
        return totals[segments]

    def total(name: str) -> Floats:
        return np.add.reduceat(columns[name], starts) if len(starts) else np.zeros(0)

    faded = np.log(columns["decay_90"] + _FADED)
    strongest = np.maximum.reduceat(faded, starts) if len(starts) else np.zeros(0)
    values: dict[str, Floats | Bools] = {name: np.log1p(np.maximum(columns[name], 0.0)) for name in _LOGGED}
    values |= {f"log_{name}": np.log(columns[name] + _FADED) for name in _DECAYS}
    values |= {
        "gap": gap,
        "bought_once": once,
        "item_trend": columns["item_trend"],
        "basket_share": np.log(columns["purchases"] / columns["user_baskets"]),
        "overdue": since_last - gap,
        "since_household_last": np.log1p(np.maximum(columns["days_since_last"] - columns["user_days_since_last"], 0.0)),
        "item_repeat_share": habits.repeat_share[product],
        "item_mean_purchases": habits.mean_purchases[product],
        "item_mean_decay": habits.mean_decay[product],
        "item_recent_share": np.log((columns["item_purchases_30"] + 0.5) / (columns["item_households"] + 5.0)),
        "item_gap": habits.gap[product],
        "item_overdue": since_last - habits.gap[product],
        "user_recent_purchases": of_household(np.log1p(total("purchases_30"))),
        "user_purchases": of_household(np.log1p(total("purchases"))),
        "user_tempo": of_household(np.log1p(total("decay_30")) - np.log1p(total("decay_90"))),
        "relative_decay_90": faded - of_household(strongest),
    }
    values |= {
        f"rank_{name}": np.log1p(_ranks(columns[name], columns["decay_60"], starts, segments)) for name in _RANKED
    }
    return np.stack([values[name].astype(np.float32) for name in FEATURES], axis=1)


def _ranks(values: Floats, tie_break: Floats, starts: Ints, segments: Ints) -> Floats:
    """(N,) each row's place in its household, 0 for the largest value."""
    order = np.lexsort((-tie_break, -values, segments))
    ranks = np.empty(len(values))
    ranks[order] = np.arange(len(values)) - starts[segments[order]]
    return ranks
