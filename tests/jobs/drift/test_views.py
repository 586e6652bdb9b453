"""Samples: seeded, independent of a table's layout, right by hand."""

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest

from include.jobs.drift.views import LINE_COLUMNS, View, views_of

NEW_YORK = ZoneInfo("America/New_York")
PRODUCTS = pa.table({"product_id": [1, 2], "department": ["GROCERY", None], "brand": ["National", "Private"]})


def lines(count: int, seed: int = 0) -> pa.Table:
    draw = np.random.default_rng(seed)
    start = dt.datetime(2017, 11, 1, tzinfo=dt.UTC)
    minutes = draw.integers(0, 40_000, count).tolist()
    values = {
        "event_id": [f"{number:06d}" for number in range(count)],
        "transaction_timestamp": pa.array([start + dt.timedelta(minutes=m) for m in minutes]),
        "household_id": draw.integers(1, 40, count),
        "store_id": draw.integers(1, 6, count),
        "basket_id": draw.integers(1, 200, count),
        "product_id": draw.integers(1, 4, count),
        "quantity": draw.integers(0, 4, count),
        "sales_value": draw.gamma(2.0, 2.0, count),
        "retail_disc": np.where(draw.random(count) < 0.4, 0.5, 0.0),
        "coupon_disc": np.zeros(count),
    }
    return pa.table({name: pa.array(values[name]) for name in LINE_COLUMNS})


def same(one: View, other: View) -> bool:
    features = {**one.numeric, **one.categorical}
    others = {**other.numeric, **other.categorical}
    return features.keys() == others.keys() and all(np.array_equal(features[name], others[name]) for name in features)


def test_there_are_more_than_a_dozen_features_with_names_of_their_own() -> None:
    views = views_of(lines(500), PRODUCTS, NEW_YORK, 100, 1)
    names = [name for view in views for name in (*view.numeric, *view.categorical)]
    assert len(names) == len(set(names)) > 12


def test_the_layout_of_a_table_does_not_change_the_sample() -> None:
    rows = lines(2000)
    shuffled = rows.take(pa.array(np.random.default_rng(5).permutation(2000)))
    for one, other in zip(
        views_of(rows, PRODUCTS, NEW_YORK, 300, 1), views_of(shuffled, PRODUCTS, NEW_YORK, 300, 1), strict=True
    ):
        assert same(one, other)


def test_another_seed_draws_another_sample() -> None:
    one, other = (views_of(lines(2000), PRODUCTS, NEW_YORK, 300, seed)[0] for seed in (1, 2))
    assert one.rows == other.rows == 300
    assert not same(one, other)


def test_few_rows_are_all_taken() -> None:
    view, baskets, households = views_of(lines(250), PRODUCTS, NEW_YORK, 300, 1)
    assert view.rows == 250
    assert households.rows == len(np.unique(lines(250)["household_id"].to_numpy()))
    assert baskets.numeric["basket_lines"].sum() == 250


def test_every_number_is_finite() -> None:
    for view in views_of(lines(3000), PRODUCTS, NEW_YORK, 1000, 1):
        assert all(np.isfinite(values).all() for values in view.numeric.values())


def test_what_is_missing_is_told_from_what_is_nothing() -> None:
    rows = lines(400)
    names = rows.schema.names
    for name, every in (("retail_disc", 2), ("coupon_disc", 4), ("quantity", 4)):
        values = [None if number % every == 0 else value for number, value in enumerate(rows[name].to_pylist())]
        rows = rows.set_column(names.index(name), name, pa.array(values, rows[name].type))
    view, baskets, _ = views_of(rows, PRODUCTS, NEW_YORK, 500, 1)
    assert np.isnan(view.numeric["line_discount_share"]).sum() == 200
    assert np.isnan(view.numeric["line_quantity"]).sum() == 100
    assert (view.categorical["line_discounted"] == "unknown").sum() == 200
    assert (view.categorical["line_coupon"] == "unknown").sum() == 100
    assert np.isfinite(baskets.numeric["basket_value"]).all()


def test_unknown_products_and_missing_names_are_a_category() -> None:
    view = views_of(lines(500), PRODUCTS, NEW_YORK, 500, 1)[0]
    assert set(view.categorical["line_department"]) == {"GROCERY", "unknown"}
    assert set(view.categorical["line_brand"]) == {"National", "Private", "unknown"}


@pytest.mark.parametrize(
    ("moment", "hour"),
    [
        ("2017-07-04T16:30:00+00:00", 12.5),  # daylight saving time: UTC-4
        ("2017-12-04T16:30:00+00:00", 11.5),  # standard time: UTC-5
        ("2017-12-04T04:59:00+00:00", 23 + 59 / 60),
        ("2017-11-05T05:30:00+00:00", 1.5),  # the hour before clocks go back …
        ("2017-11-05T06:30:00+00:00", 1.5),  # … and the one after
    ],
)
def test_hours_are_those_of_the_shops_clock(moment: str, hour: float) -> None:
    rows = lines(1)
    at = rows.schema.names.index("transaction_timestamp")
    rows = rows.set_column(at, "transaction_timestamp", pa.array([dt.datetime.fromisoformat(moment)]))
    assert views_of(rows, PRODUCTS, NEW_YORK, 10, 1)[0].numeric["line_hour"].tolist() == pytest.approx([hour])
