"""Ranked lists of products, and recall@k."""

from dataclasses import dataclass

import numpy as np

from include.jobs.ranking.interactions import Floats, Interactions, Ints

#: Marks an empty place of a list.
EMPTY = -1


@dataclass(frozen=True, slots=True)
class Purchases:
    """What households bought in a period: distinct pairs, both (M,)."""

    household_id: Ints
    product_id: Ints

    def of(self, households: Ints) -> "Purchases":
        """Only those of these households."""
        keep = np.isin(self.household_id, households)
        return Purchases(self.household_id[keep], self.product_id[keep])


@dataclass(frozen=True, slots=True)
class RankedLists:
    """The first k products for each of H households: `household_id` (H,) ascending, `product_id` (H, k)."""

    household_id: Ints
    product_id: Ints


@dataclass(frozen=True, slots=True)
class Recall:
    """Sum of recall over households, so that parts of them can be added up."""

    total: float
    households: int

    @property
    def value(self) -> float:
        """The mean over households; 0 without any."""
        return self.total / self.households if self.households else 0.0


def popular_products(rows: Interactions, count: int) -> tuple[Ints, Floats]:
    """The products with most purchases in the 90 days before the cutoff, and those purchases.

    Ties go to the product with more buyers, then to the smaller id. Returns fewer when there are fewer products.
    """
    product_id, first = np.unique(rows.product_id, return_index=True)
    purchases = rows.columns["item_purchases_90"][first]
    best = np.lexsort((product_id, -rows.columns["item_households"][first], -purchases))[:count]
    return product_id[best].astype(np.int64), purchases[best]


def rank(rows: Interactions, scores: Floats, k: int, popular: Ints) -> RankedLists:
    """Each household's own products by falling score (ties: smaller product id first), the rest from `popular`."""
    order = np.lexsort((rows.product_id, -scores, rows.household_id))
    segments = rows.segments
    place = np.arange(len(rows)) - rows.starts[segments]
    shown = place < k
    lists = np.full((len(rows.starts), k), EMPTY, dtype=np.int64)
    # The order keeps households together, so a row's place holds for whatever row is sorted there.
    lists[segments[shown], place[shown]] = rows.product_id[order][shown]
    for household in np.flatnonzero(lists[:, -1] == EMPTY):
        own = lists[household][lists[household] != EMPTY]
        filler = popular[~np.isin(popular, own)][: k - len(own)]
        lists[household, len(own) : len(own) + len(filler)] = filler
    return RankedLists(rows.households, lists)


def recall_at_k(lists: RankedLists, purchases: Purchases) -> Recall:
    """Recall@k with the denominator min(k, products bought), over households with a list and a purchase."""
    k = lists.product_id.shape[1]
    bought = purchases.of(lists.household_id)
    products, of_pair = np.unique(bought.product_id, return_inverse=True)
    buyers, counts = np.unique(bought.household_id, return_counts=True)
    pairs = np.searchsorted(lists.household_id, bought.household_id) * len(products) + of_pair
    # A product that nobody bought maps to some other one's place: compare before counting it.
    place = np.minimum(np.searchsorted(products, lists.product_id), max(len(products) - 1, 0))
    if not len(products):
        return Recall(0.0, 0)
    known = products[place] == lists.product_id
    shown = np.arange(len(lists.household_id))[:, None] * len(products) + place
    hits = (np.isin(shown, pairs) & known).sum(axis=1)
    mine = hits[np.searchsorted(lists.household_id, buyers)]
    return Recall(float((mine / np.minimum(k, counts)).sum()), len(buyers))
