"""A small made-up shop for the tests of models: households with habits, their purchases, features at a cutoff.

The features are computed here the plain way, from their definitions, and not by the job that makes them.
"""

import datetime as dt
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np

from include.jobs.ranking.interactions import COLUMNS, Interactions

TIMEZONE = ZoneInfo("America/New_York")
HALF_LIVES = (15, 30, 60, 90, 180)


@dataclass(frozen=True)
class Shop:
    """Baskets' lines, one row a product: household, basket, product (all int64) and the local day of each."""

    household: np.ndarray
    basket: np.ndarray
    product: np.ndarray
    day: np.ndarray

    @classmethod
    def open(cls, households: int = 60, products: int = 80, months: int = 6, seed: int = 3) -> "Shop":
        """Households shop some times a month from a handful of favourites, and change them slowly."""
        draw = np.random.default_rng(seed)
        rows: list[tuple[int, int, int, dt.date]] = []
        basket = 0
        first = dt.date(2017, 1, 1)
        last = (first.replace(day=1) + dt.timedelta(days=31 * months + 5)).replace(day=1)
        for household in range(1, households + 1):
            favourites = draw.choice(products, size=int(draw.integers(4, 30)), replace=False)
            day = first + dt.timedelta(days=int(draw.integers(0, 10)))
            while day < last:
                basket += 1
                wanted = favourites[draw.random(len(favourites)) < 0.35]
                extra = draw.choice(products, size=int(draw.integers(0, 3)), replace=False)
                rows += [(household, basket, 1000 + int(p), day) for p in np.union1d(wanted, extra)]
                if draw.random() < 0.1:
                    favourites[int(draw.integers(0, len(favourites)))] = draw.integers(0, products)
                day += dt.timedelta(days=int(draw.integers(3, 14)))
        columns = list(zip(*rows, strict=True))
        return cls(*(np.array(column, np.int64) for column in columns[:3]), np.array(columns[3], "datetime64[D]"))

    def between(self, start: dt.date, end: dt.date) -> "Shop":
        """Only the lines of these days, end excluded."""
        keep = (self.day >= np.datetime64(start)) & (self.day < np.datetime64(end))
        return Shop(self.household[keep], self.basket[keep], self.product[keep], self.day[keep])

    def interactions(self, cutoff: dt.date, month_after: dt.date) -> Interactions:
        """The rows of `features.interactions` at a cutoff, with labels."""
        before, after = self.between(dt.date.min, cutoff), self.between(cutoff, month_after)
        age = (np.datetime64(cutoff) - before.day).astype(int)
        bought = set(zip(after.household.tolist(), after.product.tolist(), strict=True))
        pairs = sorted(set(zip(before.household.tolist(), before.product.tolist(), strict=True)))
        rows = [self._row(before, age, household, product) for household, product in pairs]
        return Interactions.sorted(
            cutoff,
            np.array([household for household, _ in pairs], np.int64),
            np.array([product for _, product in pairs], np.int64),
            {name: np.array([row[name] for row in rows], float) for name in COLUMNS},
            np.array([float(pair in bought) for pair in pairs]),
        )

    @staticmethod
    def _row(before: "Shop", age: np.ndarray, household: int, product: int) -> dict[str, float]:
        of_household, of_product = before.household == household, before.product == product
        ages = age[of_household & of_product]
        item_30, item_90 = (float((age[of_product] <= days).sum()) for days in (30, 90))
        gap = (ages.max() - ages.min()) / (len(ages) - 1) if len(ages) > 1 else np.nan
        return {
            "purchases": len(ages),
            "quantity": len(ages),
            "spend": 2.5 * len(ages),
            "days_since_last": ages.min(),
            "days_since_first": ages.max(),
            "mean_gap_days": gap,
            **{f"decay_{life}": float((0.5 ** (ages / life)).sum()) for life in HALF_LIVES},
            "purchases_30": (ages <= 30).sum(),
            "purchases_90": (ages <= 90).sum(),
            "user_baskets": len(np.unique(before.basket[of_household])),
            "user_products": len(np.unique(before.product[of_household])),
            "user_days_since_last": age[of_household].min(),
            "item_households": len(np.unique(before.household[of_product])),
            "item_purchases_30": item_30,
            "item_purchases_90": item_90,
            "item_trend": float(np.log((item_30 + 1) / 30) - np.log((item_90 - item_30 + 1) / 60)),
        }
