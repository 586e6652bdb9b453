import datetime as dt
import json
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from podium.announcements import KEPT, Announcement, together, told
from podium.assets import SALES, partitions_of
from podium.operators.announce import AnnounceIntervalOperator, partition_keys

from tests.plugins.harness import Ti, call_with

TABLE = {"kind": "table", "name": "sales.transactions", "snapshot_id": "42", "rows": 10}
RESULTS: dict[str, dict[str, Any]] = {
    "ingest": {"accepted": 10},
    "validate": {"datasets": {"inputs": [{**TABLE, "snapshot_id": "41"}], "outputs": [TABLE]}},
}
START, END = "2017-01-01T00:00:00+00:00", "2017-01-29T00:00:00+00:00"


class Announced:
    """The announcing task, in a run of a type."""

    def __init__(self, run_type: str, grain: Any = None) -> None:
        self.partitions: list[str] = []
        self.ti = Ti("announce")
        self.extra: Any = None
        self.skipped = ""
        accessor = SimpleNamespace(extra=None)
        context: Any = {
            "ti": SimpleNamespace(xcom_pull=lambda task_ids: RESULTS[task_ids], xcom_push=self.ti.xcom_push),
            "dag_run": SimpleNamespace(
                dag_id="ingest",
                run_id="scheduled__1",
                run_type=run_type,
                data_interval_start=dt.datetime.fromisoformat(START),
                data_interval_end=dt.datetime.fromisoformat(END),
            ),
            "outlet_events": {
                SALES: accessor,
                partitions_of(SALES.name): SimpleNamespace(add_partitions=self.partitions.extend),
            },
        }
        operator = AnnounceIntervalOperator(
            task_id="announce", asset=SALES, counted_by="ingest", published_by="validate", partitions=grain
        )
        try:
            call_with(operator, context)
        except AirflowSkipException as skipped:
            self.skipped = str(skipped)
        self.extra, self.reported = accessor.extra, operator.reported


def test_a_scheduled_run_announces_its_own_interval() -> None:
    assert Announced("scheduled").extra == {
        "intervals": {START: [END, 10]},
        "latest": {"start": START, "end": END},
        "rows": 10,
        "backfill": False,
    }


@pytest.mark.parametrize("run_type", ["scheduled", "backfill"])
def test_what_is_announced_is_the_table_as_it_was_published(run_type: str) -> None:
    reported = Announced(run_type).reported
    assert (reported.inputs, reported.outputs) == ([TABLE], [])


def test_a_run_of_a_backfill_keeps_what_it_has_to_announce_whatever_its_name_is() -> None:
    run = Announced("backfill", grain="day")
    assert (run.extra, run.partitions) == (None, [])
    assert "announced with those of the other runs of its backfill" in run.skipped
    kept = Announcement.from_json(json.loads(json.dumps(run.ti.xcom[KEPT])))
    assert (kept.asset.name, kept.asset.uri, kept.intervals) == (SALES.name, SALES.uri, {START: [END, 10]})
    assert kept.partitioned is not None
    assert kept.partitioned.uri == partitions_of(SALES.name).uri
    assert len(kept.keys) == 27, "UTC midnights lie within the shop's days"


def test_of_an_interval_that_was_published_twice_the_latest_counts() -> None:
    first = Announcement(SALES, {START: [END, 10]}, None, ["a"])
    second = Announcement(SALES, {START: [END, 7], END: ["2017-02-01T00:00:00+00:00", 1]}, None, ["b", "a"])
    (found,) = together([first, second])
    assert (found.intervals[START], found.keys) == ([END, 7], ["a", "b"])
    assert told(found.intervals, backfill=True, failed={})["rows"] == 8


def test_assets_are_told_of_apart() -> None:
    other = partitions_of("other")
    found = together([Announcement(SALES, {START: [END, 1]}), Announcement(other, {START: [END, 2]})])
    assert [(each.asset.name, each.intervals[START][1]) for each in found] == [(SALES.name, 1), (other.name, 2)]


SHOP = ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    ("start", "end", "grain", "keys"),
    [
        # Days by the shop's clocks, though the bounds are told in UTC; one of 23 hours among them.
        ("2017-03-11T05:00:00+00:00", "2017-03-14T04:00:00+00:00", "day", ["03-11T00", "03-12T00", "03-13T00"]),
        ("2017-11-04T04:00:00+00:00", "2017-11-06T05:00:00+00:00", "day", ["11-04T00", "11-05T00"]),
        # What is not whole is none.
        ("2017-01-01T06:00:00+00:00", "2017-01-03T04:59:00+00:00", "day", []),
        ("2017-01-01T05:30:00+00:00", "2017-01-01T08:10:00+00:00", "hour", ["01-01T01", "01-01T02"]),
        # The clocks leave out two o'clock in spring, and show one o'clock twice in autumn.
        ("2017-03-12T06:00:00+00:00", "2017-03-12T08:00:00+00:00", "hour", ["03-12T01", "03-12T03"]),
        ("2017-11-05T05:00:00+00:00", "2017-11-05T07:00:00+00:00", "hour", ["11-05T01"]),
        ("2017-11-05T04:00:00+00:00", "2017-11-05T05:00:00+00:00", "hour", ["11-05T00"]),
    ],
)
def test_partitions_are_whole_days_or_hours_of_the_shop(start: str, end: str, grain: Any, keys: list[str]) -> None:
    assert partition_keys({start: [end, 0]}, grain, SHOP) == [f"2017-{key}:00:00" for key in keys]


def test_a_topic_whose_partitions_nobody_wants_has_one_outlet() -> None:
    assert AnnounceIntervalOperator(task_id="announce", asset=SALES, counted_by="ingest").outlets == [SALES]
