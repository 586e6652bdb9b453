"""Answers for households, from a loaded model: no server, no protocol."""

from dataclasses import dataclass

import numpy as np

from include.jobs.ranking.interactions import Ints
from include.jobs.ranking.model import CANDIDATES_PER_HOUSEHOLD, RankerModel

#: The longest list that is given: as many as a household has candidates.
LONGEST = CANDIDATES_PER_HOUSEHOLD


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A ranked list for one household.

    Attributes:
        products: by falling score.
        scores: a household's own products share 1 by the softmax of the network's scores; popular products, which fill
            the list up, are not scored for a household and have 0.
        personal: how many of the products, from the first, are the household's own.
    """

    products: list[int]
    scores: list[float]
    personal: int


class Recommender:
    """Ranks a household's own earlier products with the network; popular products fill the list up."""

    def __init__(self, model: RankerModel) -> None:
        self._model = model
        self._candidates = model.candidates

    @property
    def households(self) -> Ints:
        """The households that have products of their own, ascending."""
        return self._candidates.household_id

    def recommend(self, household_id: int, k: int) -> Recommendation:
        """The best k products; an unknown household gets the popular ones."""
        candidates = self._candidates
        at = int(np.searchsorted(candidates.household_id, household_id))
        known = at < len(candidates.household_id) and int(candidates.household_id[at]) == household_id
        own = slice(candidates.offsets[at], candidates.offsets[at + 1]) if known else slice(0, 0)
        products = candidates.product_id[own]
        scores = self._model.ranker.score(candidates.inputs[own])
        # Stable, so that ties keep the order of the candidates.
        best = np.argsort(-scores, kind="stable")[:k]
        shares = np.exp(scores - scores.max(initial=-np.inf)) if len(scores) else scores
        shares = shares / shares.sum() if len(scores) else shares
        listed = products[best].tolist()
        filler: list[int] = []
        if len(listed) < k:
            popular = candidates.popular_product_id
            filler = popular[~np.isin(popular, products)][: k - len(listed)].tolist()
        return Recommendation(
            products=listed + filler,
            scores=np.round(shares[best].astype(np.float64), 6).tolist() + [0.0] * len(filler),
            personal=len(listed),
        )
