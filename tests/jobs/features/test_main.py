"""The job on a real lake: tables replaced by partition, in one snapshot each."""

import datetime as dt
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.sql import SparkSession

from include.jobs.features import main, serving
from include.jobs.features.compute import PROFILE
from include.jobs.features.history import HistoryError
from include.jobs.features.main import build
from include.jobs.features.serving import View
from include.jobs.features.sources import read_events
from include.jobs.features.tables import ITEMS, TABLES, USERS, FeatureTable, OverlappingBuildError, replace_partitions
from include.jobs.lake import pages
from include.jobs.lake.connections import Connections
from include.jobs.lake.errors import LakeError
from include.jobs.lake.ledger import IntervalRecord, iso
from tests.jobs.features.shop import EVENTS_SCHEMA, PRODUCTS, ZONE, closed, frame, midnight, purchases

NAMES = ("features.users", "features.items", "features.interactions", "features.preferences", "features.demand")


def month(number: int) -> dt.date:
    return dt.date(2017, number, 1)


def load(spark: SparkSession, *records: IntervalRecord) -> None:
    """Make the events table anew, with these intervals closed."""
    spark.sql("DROP TABLE IF EXISTS lake.sales.transactions")
    spark.sql("CREATE NAMESPACE IF NOT EXISTS lake.sales")
    spark.sql(f"CREATE TABLE lake.sales.transactions ({EVENTS_SCHEMA}) USING iceberg PARTITIONED BY (interval_start)")
    frame(spark, purchases()).coalesce(1).sortWithinPartitions("interval_start").writeTo(
        "lake.sales.transactions"
    ).append()
    for record in records:
        value = record.to_json()
        spark.sql(f"ALTER TABLE lake.sales.transactions SET TBLPROPERTIES ('{record.key}' = '{value}')")


@pytest.fixture
def shop(spark: SparkSession) -> Iterator[SparkSession]:
    """Events of January to May, all closed, and the products; no feature tables yet."""
    for table in (*NAMES, "features.serving", "features.seen"):
        spark.sql(f"DROP TABLE IF EXISTS lake.{table}")
    load(spark, *(closed(month(number), month(number + 1)) for number in range(1, 6)))
    spark.sql("CREATE NAMESPACE IF NOT EXISTS lake.reference")
    spark.sql("CREATE OR REPLACE TABLE lake.reference.products (product_id bigint, department string) USING iceberg")
    values = ", ".join(f"({number}, 'D{number % 3}')" for number in range(1, PRODUCTS + 1))
    spark.sql(f"INSERT INTO lake.reference.products VALUES {values}")
    profile = ", ".join(f"{name} string" for name in PROFILE)
    spark.sql(f"CREATE OR REPLACE TABLE lake.reference.households (household_id bigint, {profile}) USING iceberg")
    yield spark
    spark.catalog.clearCache()


def content(spark: SparkSession, table: str, snapshot_id: int | None = None) -> list[Any]:
    reader = spark.read if snapshot_id is None else spark.read.option("versionAsOf", snapshot_id)
    return sorted(reader.table(f"lake.{table}").collect(), key=str)


def written(spark: SparkSession) -> dict[str, dict[dt.date, int]]:
    """The snapshot that has written each partition, by table."""
    return {
        table: {
            row.partition[0]: row.last_updated_snapshot_id for row in spark.table(f"lake.{table}.partitions").collect()
        }
        for table in NAMES
    }


def view(spark: SparkSession) -> dict[str, int]:
    """What is published: the snapshot of each table."""
    return {row.table_name: row.snapshot_id for row in spark.table("lake.features.serving").collect()}


def test_tables_are_made_and_making_them_anew_changes_nothing(shop: SparkSession) -> None:
    first = build(shop, [month(3), month(4)], ZONE)["tables"]
    before = {table: content(shop, table) for table in NAMES}
    assert {str(row.cutoff) for row in before["features.interactions"]} == {"2017-03-01", "2017-04-01"}
    for table in NAMES:
        assert first[table]["rows"] == len(before[table]) > 0
    built = build(shop, [month(3), month(4)], ZONE, anew=True)
    second = built["tables"]
    assert {table: content(shop, table) for table in NAMES} == before
    for table in NAMES:
        snapshots = shop.sql(f"SELECT snapshot_id, operation, summary FROM lake.{table}.snapshots").collect()
        assert [row.snapshot_id for row in snapshots] == [first[table]["snapshot_id"], second[table]["snapshot_id"]]
        assert snapshots[1].operation == "overwrite", "one snapshot, not a delete and an append"
        source = snapshots[1].summary["podium.source-snapshot"]
        assert source == str(built["sources"]["sales.transactions"])


def test_all_tables_are_published_as_one_view_once_all_are_written(
    shop: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(shop, [month(3)], ZONE)
    published = view(shop)
    assert published == first["sources"] | {name: first["tables"][name]["snapshot_id"] for name in NAMES}
    assert {"sales.transactions", "reference.products"} <= set(first["sources"])
    before = {name: content(shop, name, published[name]) for name in NAMES}

    def dies_at_items(spark: SparkSession, table: FeatureTable, *given: Any) -> Any:
        if table is ITEMS:
            raise KeyboardInterrupt
        return replace_partitions(spark, table, *given)

    monkeypatch.setattr(main, "replace_partitions", dies_at_items)
    late = purchases(baskets=900)
    frame(shop, late[len(purchases()) :]).writeTo("lake.sales.transactions").append()
    with pytest.raises(KeyboardInterrupt):
        build(shop, [month(3)], ZONE)
    assert content(shop, "features.interactions") != before["features.interactions"]
    assert view(shop) == published, "whoever reads by the view sees nothing of half a build"
    assert {name: content(shop, name, published[name]) for name in NAMES} == before

    monkeypatch.undo()
    second = build(shop, [month(3)], ZONE)
    snapshots = shop.sql("SELECT snapshot_id FROM lake.features.serving.snapshots ORDER BY committed_at").collect()
    assert [row.snapshot_id for row in snapshots] == [first["view"], second["view"]]
    assert all(number != published[name] for name, number in view(shop).items() if name in NAMES)


def sold(shop: SparkSession, day: dt.date) -> None:
    """A late event, at noon."""
    moment = midnight(day) + dt.timedelta(hours=12)
    moments = {"transaction_timestamp": moment, "event_time": moment, "interval_start": midnight(day.replace(day=1))}
    late = purchases()[0] | moments | {"basket_id": 9000 + day.month}
    frame(shop, [late]).writeTo("lake.sales.transactions").append()


def as_when_all_is_made_anew(shop: SparkSession, cutoffs: list[dt.date]) -> None:
    """What is published is what making everything anew gives."""
    published = view(shop)
    found = {name: content(shop, name, published[name]) for name in NAMES}
    build(shop, cutoffs, ZONE, anew=True)
    assert {name: content(shop, name) for name in NAMES} == found


@pytest.mark.parametrize("at", [TABLES[0], TABLES[-1]], ids=lambda table: table.name)
def test_of_two_builds_that_overlap_one_is_published_and_they_never_mix(
    shop: SparkSession, monkeypatch: pytest.MonkeyPatch, at: FeatureTable
) -> None:
    """The other one begins and ends while this one is about to write one of the tables, and sees a later event."""
    cutoffs = [month(3), month(4)]
    build(shop, [month(3)], ZONE)
    sold(shop, dt.date(2017, 2, 10))
    others: list[dict[str, Any]] = []

    def overtaken(spark: SparkSession, table: FeatureTable, *given: Any) -> Any:
        if table is at and not others:
            others.append({})
            sold(shop, dt.date(2017, 2, 11))
            others.append(build(shop, cutoffs, ZONE))
        return replace_partitions(spark, table, *given)

    monkeypatch.setattr(main, "replace_partitions", overtaken)
    with pytest.raises(OverlappingBuildError, match="nothing is published"):
        build(shop, [month(3)], ZONE)
    monkeypatch.undo()
    assert serving.published(shop).snapshot_id == others[-1]["view"]
    found = {name: content(shop, name, number) for name, number in view(shop).items() if name in NAMES}
    build(shop, cutoffs, ZONE)
    assert {name: content(shop, name) for name in NAMES} == found, "the next build mends the tables"
    as_when_all_is_made_anew(shop, cutoffs)


def test_an_erasure_in_the_midst_of_a_build_is_not_undone(shop: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    build(shop, [month(3)], ZONE)
    sold(shop, dt.date(2017, 2, 10))

    def erased_meanwhile(spark: SparkSession, table: FeatureTable, *given: Any) -> Any:
        if table is USERS:
            shop.sql("DELETE FROM lake.features.users WHERE household_id = 2")
        return replace_partitions(spark, table, *given)

    monkeypatch.setattr(main, "replace_partitions", erased_meanwhile)
    with pytest.raises(OverlappingBuildError, match=r"features\.users was changed"):
        build(shop, [month(3)], ZONE)
    monkeypatch.undo()
    shop.sql("DELETE FROM lake.sales.transactions WHERE household_id = 2")
    build(shop, [month(3)], ZONE)
    assert 2 not in {row.household_id for row in content(shop, "features.users", view(shop)["features.users"])}


def test_a_view_is_replaced_only_by_a_build_that_began_with_it(shop: SparkSession) -> None:
    build(shop, [month(3)], ZONE)
    base = serving.published(shop)
    second = build(shop, [month(4)], ZONE)
    for began_with in (base, View({}, {})):
        with pytest.raises(OverlappingBuildError, match=r"features\.serving was changed"):
            serving.publish(shop, View({"features.users": 1}, {}), began_with, {})
    with pytest.raises(OverlappingBuildError):
        serving.publish(shop, base, base, {})
    assert serving.published(shop).snapshot_id == second["view"]


def test_of_the_events_only_what_has_changed_and_what_is_due_is_read(
    shop: SparkSession, connections: Connections
) -> None:
    """All other files are gone, and nobody misses them; a day before what is due may be of it, by the shop's clocks."""
    assert build(shop, [month(3)], ZONE)["intervals_read"] == 5
    sold(shop, dt.date(2017, 5, 10))
    shop.catalog.clearCache()
    listed = shop.sql(
        "SELECT unix_micros(partition.interval_start) AS start, file_path FROM lake.sales.transactions.files"
    )
    april = int(midnight(month(4)).timestamp() * 1_000_000)
    gone = [row.file_path for row in listed.collect() if row.start < april]
    assert len(gone) == 3
    for path in gone:
        connections.filesystem().delete_file(path.removeprefix("s3://"))
    built = build(shop, [month(3)], ZONE)
    assert built["intervals_read"] == 1
    assert {name: table["partitions"] for name, table in built["tables"].items() if table["partitions"]} == {
        "features.demand": ["2017-05-01"]
    }
    assert build(shop, [month(3)], ZONE)["intervals_read"] == 0
    with pytest.raises(Exception, match=r"(?i)no ?such ?key|not ?found|does not exist"):
        build(shop, [month(3)], ZONE, anew=True)


def test_nothing_is_published_where_nothing_was_made_anew(shop: SparkSession) -> None:
    """The same events again, in other files and another snapshot; and a late one of a day that no partition sees."""
    first = build(shop, [month(3)], ZONE)
    assert first["changed"]
    frame(shop, purchases()).coalesce(1).sortWithinPartitions("interval_start").writeTo(
        "lake.sales.transactions"
    ).overwritePartitions()
    second = build(shop, [month(3)], ZONE)
    assert (second["changed"], second["view"], second["intervals_read"]) == (False, first["view"], 5)
    sold(shop, dt.date(2017, 6, 10))
    third = build(shop, [month(3)], ZONE)
    assert (third["changed"], third["view"], third["intervals_read"]) == (False, first["view"], 1)
    assert build(shop, [month(3)], ZONE)["intervals_read"] == 0, "what was read is known, though nothing was published"
    sold(shop, dt.date(2017, 2, 10))
    fourth = build(shop, [month(3)], ZONE)
    assert fourth["changed"]
    assert fourth["view"] != first["view"]
    as_when_all_is_made_anew(shop, [month(3)])


def test_other_cutoffs_stay_as_they_are(shop: SparkSession) -> None:
    build(shop, [month(3)], ZONE)
    before = content(shop, "features.interactions")
    build(shop, [month(4), month(6)], ZONE)
    after = content(shop, "features.interactions")
    assert [row for row in after if str(row.cutoff) == "2017-03-01"] == before
    labels = {str(row.cutoff): set() for row in after}
    for row in after:
        labels[str(row.cutoff)].add(row.label)
    assert labels == {"2017-03-01": {0, 1}, "2017-04-01": {0, 1}, "2017-06-01": {None}}
    months = {str(row.month) for row in content(shop, "features.demand")}
    assert months == {f"2017-0{number}-01" for number in range(1, 6)}


def test_columns_that_an_earlier_version_lacked_are_added(shop: SparkSession) -> None:
    def rows(cutoff: int) -> list[dict[str, Any]]:
        found = shop.table("lake.features.items").where(f"cutoff = DATE'{month(cutoff)}'").collect()
        return sorted((row.asDict() for row in found), key=lambda row: row["product_id"])

    build(shop, [month(3)], ZONE)
    complete, added = rows(3), ("price_mean", "promoted_share")
    shop.sql(f"ALTER TABLE lake.features.items DROP COLUMNS ({', '.join(added)})")
    shop.catalog.clearCache()
    earlier = rows(3)
    assert set(complete[0]) - set(earlier[0]) == set(added)

    build(shop, [month(4)], ZONE)
    assert rows(3) == [row | dict.fromkeys(added) for row in earlier]
    assert all(row[name] is not None for row in rows(4) for name in added)
    build(shop, [month(3)], ZONE, anew=True)
    assert rows(3) == complete


def test_a_run_makes_only_what_a_change_touches(shop: SparkSession) -> None:
    """What comes out is each time what making everything anew gives."""
    cutoffs = [month(3), month(4), month(6)]
    load(shop, *(closed(month(number), month(number + 1)) for number in (1, 2, 3, 4)), closed(month(5), month(6)))
    build(shop, cutoffs, ZONE)

    def touched(change: Callable[[], object]) -> dict[str, set[int]]:
        """The months, by table, of the partitions that a run after the change has made."""
        change()
        before = written(shop)
        build(shop, cutoffs, ZONE)
        after = written(shop)
        return {
            table: {day.month for day, snapshot in after[table].items() if before[table].get(day) != snapshot}
            for table in NAMES
        }

    nothing: dict[str, set[int]] = {table: set() for table in NAMES}
    all_cutoffs = {"users": {3, 4, 6}, "items": {3, 4, 6}, "interactions": {3, 4, 6}, "preferences": {3, 4, 6}}

    def only(**tables: set[int]) -> dict[str, set[int]]:
        return nothing | {f"features.{name}": months for name, months in tables.items()}

    def same_again() -> None:
        """Ingested, compacted, and an interval that brings nothing."""
        load(shop, *(closed(month(number), month(number + 1)) for number in (1, 2, 3, 4, 5)))
        frame(shop, []).writeTo("lake.sales.transactions").append()
        for table in ("features.interactions", "sales.transactions"):
            options = "options => map('rewrite-all', 'true')"
            shop.sql(f"CALL lake.system.rewrite_data_files(table => '{table}', {options})").collect()

    assert touched(same_again) == nothing
    # A late event: what comes after its day, the label of its month, and the demand of its month.
    assert touched(lambda: sold(shop, dt.date(2017, 2, 10))) == only(**all_cutoffs, demand={2})
    later = {"users": {6}, "items": {6}, "preferences": {6}}
    assert touched(lambda: sold(shop, dt.date(2017, 4, 10))) == only(**later, interactions={4, 6}, demand={4})
    assert touched(lambda: sold(shop, dt.date(2017, 6, 10))) == nothing, (
        "it is in no complete month, and after every cutoff"
    )

    # Reference data: what is joined with it.
    def told() -> None:
        shop.sql("UPDATE lake.reference.products SET department = 'D9' WHERE product_id = 3")
        values = ", ".join(["'x'"] * len(PROFILE))
        shop.sql(f"INSERT INTO lake.reference.households VALUES (1, {values})")

    assert touched(told) == only(users={3, 4, 6}, preferences={3, 4, 6}, demand={1, 2, 3, 4, 5})
    # An erasure has changed the rows themselves.
    assert touched(lambda: shop.sql("DELETE FROM lake.features.users WHERE household_id = 2")) == only(users={3, 4, 6})

    incremental = {table: content(shop, table) for table in NAMES}
    build(shop, cutoffs, ZONE, anew=True)
    assert {table: content(shop, table) for table in NAMES} == incremental


def test_a_month_that_is_complete_now_brings_its_labels_and_the_next_cutoff(shop: SparkSession) -> None:
    load(shop, *(closed(month(number), month(number + 1)) for number in (1, 2, 3)))
    build(shop, [month(3), month(4)], ZONE)
    before = written(shop)
    value = closed(month(4), month(5))
    shop.sql(f"ALTER TABLE lake.sales.transactions SET TBLPROPERTIES ('{value.key}' = '{value.to_json()}')")
    built = build(shop, [month(3), month(4), month(5)], ZONE)
    made = {
        table: {day for day in days if before[table].get(day) != days[day]} for table, days in written(shop).items()
    }
    assert made == {name: {month(5)} for name in NAMES} | {
        "features.interactions": {month(4), month(5)},
        "features.demand": {month(4)},
    }
    assert {name: set(table["partitions"]) for name, table in built["tables"].items()} == {
        table: {str(day) for day in days} for table, days in made.items()
    }


class Bucket:
    """The lake's bucket, as far as pages of the ledger are written to it."""

    def __init__(self, connections: Connections) -> None:
        self._files = connections.filesystem()

    def new_output(self, address: str) -> Any:
        path = address.removeprefix("s3://")
        return SimpleNamespace(create=lambda: self._files.open_output_stream(path))


def test_intervals_on_a_page_of_the_ledger_count_as_those_at_hand(
    shop: SparkSession, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "FOLD_PAST", 2)
    monkeypatch.setattr(pages, "KEEP", 2)
    records = [closed(month(number), month(number + 1)) for number in range(1, 6)]
    bucket: Any = Bucket(connections)
    folder = pages.folder_of(connections.warehouse, "sales.transactions")
    folded = pages.fold({}, {one.key: one.to_json() for one in records}, bucket, folder)
    load(shop)
    page = pages.PAGE_PREFIX + iso(records[0].interval.start)
    assert set(folded.setting) == {page, *(one.key for one in records[3:])}
    for key, value in folded.setting.items():
        shop.sql(f"ALTER TABLE lake.sales.transactions SET TBLPROPERTIES ('{key}' = '{value}')")
    assert list(read_events(shop).ledger) == records
    assert build(shop, [month(3)], ZONE)["tables"]


def test_a_partition_whose_rows_are_gone_is_emptied(shop: SparkSession) -> None:
    build(shop, [month(3)], ZONE)
    shop.sql(f"DELETE FROM lake.sales.transactions WHERE event_time < TIMESTAMP'{midnight(month(3)).isoformat()}'")
    build(shop, [month(3)], ZONE)
    assert [len(content(shop, f"features.{name}")) for name in ("users", "items", "interactions")] == [0, 0, 0]


def test_a_cutoff_without_its_past_writes_nothing(shop: SparkSession) -> None:
    load(shop, closed(month(1), month(2)), closed(month(3), month(4)))
    with pytest.raises(HistoryError, match="cutoff 2017-04-01 needs closed intervals"):
        build(shop, [month(4)], ZONE)
    assert not shop.catalog.tableExists("lake.features.interactions")


def test_missing_sources_are_named(shop: SparkSession) -> None:
    shop.sql("DROP TABLE lake.reference.products")
    with pytest.raises(LakeError, match=r"table reference\.products is not in the lake"):
        build(shop, [month(3)], ZONE)
    shop.sql("DROP TABLE lake.sales.transactions")
    with pytest.raises(LakeError, match=r"table sales\.transactions is not in the lake"):
        build(shop, [month(3)], ZONE)
