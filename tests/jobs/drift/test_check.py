"""The check on a real lake and a real registry."""

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from include.jobs.drift.check import NoReferenceError, reference_of
from include.jobs.lake.catalog import load_table, open_catalog
from include.jobs.lake.tables import MONITORING_DRIFT, TRANSACTIONS
from include.jobs.ranking.model import Candidates, RankerModel, own_frequency
from include.jobs.ranking.registry import CHAMPION, Registry, RunRecord
from tests.jobs.model_platform import Platform, result_of

JUNE, JULY = dt.date(2017, 6, 1), dt.date(2017, 7, 1)
INTERVAL = ("--start", "2017-06-01T04:00:00Z", "--end", "2017-07-01T04:00:00Z")


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"snapshot.sales.transactions": "12"},
        {"snapshot.sales.transactions": "many", "known_until": "2017-06-01T00:00:00-04:00"},
        {"snapshot.sales.transactions": "12", "known_until": "June"},
    ],
)
def test_a_run_that_does_not_say_what_it_learned_from(tags: dict[str, str]) -> None:
    with pytest.raises(NoReferenceError, match="version 3 of recommender has no usable tags"):
        reference_of(tags, "recommender", "3")


def test_a_runs_reference() -> None:
    tags = {"snapshot.sales.transactions": "12", "known_until": "2017-12-01T00:00:00-05:00"}
    assert reference_of(tags, "recommender", "3") == (12, dt.datetime(2017, 12, 1, 5, tzinfo=dt.UTC))


@pytest.fixture(scope="module")
def champion(platform: Platform) -> str:
    snapshot = load_table(open_catalog(platform.connections), TRANSACTIONS).current_snapshot()
    assert snapshot is not None
    return register(platform, "champion", str(snapshot.snapshot_id))


def register(platform: Platform, key: str, snapshot: str) -> str:
    ranker = own_frequency()
    rows = platform.shop.interactions(JUNE, JULY)
    model = RankerModel("own_frequency", ranker, JUNE, Candidates.of(ranker, rows))
    tags = {"snapshot.sales.transactions": snapshot, "known_until": "2017-06-01T00:00:00-04:00"}
    registry = Registry.connect("recommender", platform.environment)
    return str(registry.register("recommender", key, RunRecord(key, tags=tags), model, CHAMPION).version)


def check(platform: Platform, *arguments: str) -> dict[str, Any]:
    return result_of(platform.run("include.jobs.drift", "check", *arguments))


def stored(platform: Platform) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (
        load_table(open_catalog(platform.connections), MONITORING_DRIFT).scan().to_arrow().sort_by("name").to_pylist()
    )
    return rows


@pytest.mark.slow
def test_a_steady_month_does_not_drift_and_a_repeated_check_replaces_its_rows(
    platform: Platform, champion: str
) -> None:
    result = check(platform, *INTERVAL)
    assert result["drifted"] is False
    assert result["model_version"] == champion
    # As long as the interval, up to where the model's knowledge ends.
    assert (result["reference_start"], result["reference_end"]) == ("2017-05-02T04:00:00Z", "2017-06-01T04:00:00Z")
    rows = stored(platform)
    assert {row["name"] for row in rows} == {feature["name"] for feature in result["features"]}
    again = check(platform, *INTERVAL)
    assert again["features"] == result["features"]
    assert stored(platform) == rows


@pytest.mark.slow
def test_an_interval_that_differs_drifts_against_the_old_snapshot(platform: Platform, champion: str) -> None:
    table = load_table(open_catalog(platform.connections), TRANSACTIONS)
    rows = table.scan().to_arrow()
    rows = rows.filter(pa.compute.greater_equal(rows["event_time"], pa.scalar(dt.datetime(2017, 7, 1, tzinfo=dt.UTC))))
    later = pa.compute.add(rows["event_time"], pa.scalar(dt.timedelta(days=61, hours=-9)))
    start = pa.array([dt.datetime(2017, 9, 1, 4, tzinfo=dt.UTC)] * rows.num_rows, rows.schema.field("event_time").type)
    changed = {
        "event_time": later,
        "transaction_timestamp": later,
        "interval_start": start,
        "sales_value": pa.array(rows["sales_value"].to_numpy() * 3),
        "quantity": pa.array(np.full(rows.num_rows, 5)),
        "retail_disc": pa.array(np.zeros(rows.num_rows)),
        "store_id": pa.array(np.full(rows.num_rows, 77)),
    }
    for name, values in changed.items():
        rows = rows.set_column(rows.schema.names.index(name), rows.schema.field(name), values)
    table.append(rows)
    result = check(
        platform, "--start", "2017-08-29T00:00:00Z", "--end", "2017-10-05T00:00:00Z", "--min-drifted-fraction", "0.3"
    )
    found = {feature["name"] for feature in result["features"] if feature["drifted"]}
    assert {"line_value", "line_quantity", "line_hour", "line_store", "line_discounted", "basket_value"} <= found
    assert result["drifted"] is True
    assert result["reference_snapshot"] != result["current_snapshot"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--start", "2019-01-01T00:00:00Z", "--end", "2019-02-01T00:00:00Z"), "has no transactions in"),
        (("--start", "2019-01-01T00:00:00Z", "--end", "2018-02-01T00:00:00Z"), "must lie before its end"),
        (("--start", "yesterday", "--end", "2018-02-01T00:00:00Z"), "is not ISO 8601"),
        ((*INTERVAL, "--p-value", "1.5"), "--p-value must lie between 0 and 1"),
        ((*INTERVAL, "--model-version", "999"), "has no version 999"),
    ],
)
def test_what_cannot_be_checked_is_told_in_one_line(
    platform: Platform, champion: str, arguments: tuple[str, ...], message: str
) -> None:
    done = platform.run("include.jobs.drift", "check", *arguments, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_snapshot_that_has_expired_asks_for_training(platform: Platform, champion: str) -> None:
    version = register(platform, "expired", "123456789")
    Registry.connect("recommender", platform.environment).set_alias(CHAMPION, champion)
    done = platform.run("include.jobs.drift", "check", *INTERVAL, "--model-version", version, check=False)
    assert done.returncode == 1
    assert "snapshot 123456789 of sales.transactions" in done.stderr
    assert "train again" in done.stderr
