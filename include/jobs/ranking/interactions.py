"""What households bought before a cutoff: the rows of `features.interactions`, as arrays."""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt

from include.jobs.ranking.errors import RankingError

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]

#: Columns that describe a product in a household's history. Null `mean_gap_days` (bought once) is NaN.
COLUMNS = (
    "purchases",
    "quantity",
    "spend",
    "days_since_last",
    "days_since_first",
    "mean_gap_days",
    "decay_15",
    "decay_30",
    "decay_60",
    "decay_90",
    "decay_180",
    "purchases_30",
    "purchases_90",
    "user_baskets",
    "user_products",
    "user_days_since_last",
    "item_households",
    "item_purchases_30",
    "item_purchases_90",
    "item_trend",
)


@dataclass(frozen=True, slots=True)
class Interactions:
    """N rows of one cutoff, one per household and product, ordered by household, then product.

    Attributes:
        cutoff: the rows know only what happened before this local day.
        household_id: (N,), ascending.
        product_id: (N,), ascending within a household.
        columns: `COLUMNS`, each (N,).
        label: (N,), 1 where the household bought the product in the month from the cutoff; None if not read.
    """

    cutoff: dt.date
    household_id: Ints
    product_id: Ints
    columns: Mapping[str, Floats]
    label: Floats | None = None

    @classmethod
    def sorted(
        cls, cutoff: dt.date, household_id: Ints, product_id: Ints, columns: Mapping[str, Floats], label: Floats | None
    ) -> Self:
        """Order the rows, so that results do not depend on how a table is laid out.

        Raises:
            RankingError: a pair of household and product occurs twice, or a column is missing.
        """
        missing = [name for name in COLUMNS if name not in columns]
        if missing:
            raise RankingError(f"interactions of cutoff {cutoff} lack the columns {', '.join(missing)}")
        order = np.lexsort((product_id, household_id))
        household_id, product_id = household_id[order], product_id[order]
        twice = (household_id[1:] == household_id[:-1]) & (product_id[1:] == product_id[:-1])
        if twice.any():
            where = int(np.argmax(twice))
            raise RankingError(
                f"interactions of cutoff {cutoff} hold household {household_id[where]}, product {product_id[where]} "
                "twice: build the features of this cutoff again"
            )
        return cls(
            cutoff=cutoff,
            household_id=household_id,
            product_id=product_id,
            columns={name: columns[name][order] for name in COLUMNS},
            label=None if label is None else label[order],
        )

    def __len__(self) -> int:
        return len(self.household_id)

    @property
    def households(self) -> Ints:
        """(H,) the households, ascending."""
        return self.household_id[self.starts]

    @property
    def starts(self) -> Ints:
        """(H,) the first row of each household."""
        if not len(self):
            return np.zeros(0, np.int64)
        return np.flatnonzero(np.r_[True, self.household_id[1:] != self.household_id[:-1]]).astype(np.int64)

    @property
    def segments(self) -> Ints:
        """(N,) each row's household, as its position in `households`."""
        return np.cumsum(np.r_[False, self.household_id[1:] != self.household_id[:-1]])[: len(self)].astype(np.int64)

    def of(self, households: Ints) -> Self:
        """Only the rows of these households."""
        keep = np.isin(self.household_id, households)
        return type(self)(
            cutoff=self.cutoff,
            household_id=self.household_id[keep],
            product_id=self.product_id[keep],
            columns={name: values[keep] for name, values in self.columns.items()},
            label=None if self.label is None else self.label[keep],
        )

    def parts(self, rows: int = 100_000) -> Iterator[Self]:
        """The same rows in pieces of about `rows`, households whole, to bound the memory of what is made of them."""
        edges = np.unique(np.searchsorted(self.household_id, self.household_id[rows::rows])).tolist()
        for low, high in zip([0, *edges], [*edges, len(self)], strict=True):
            if low < high:
                yield self._slice(low, high)

    def _slice(self, low: int, high: int) -> Self:
        return type(self)(
            cutoff=self.cutoff,
            household_id=self.household_id[low:high],
            product_id=self.product_id[low:high],
            columns={name: values[low:high] for name, values in self.columns.items()},
            label=None if self.label is None else self.label[low:high],
        )
