import datetime as dt
import itertools
import json
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from podium.assets import SALES, partitions_of
from podium.lineage import Reported
from podium.operators.announce import (
    STATE_KEY,
    AnnounceIntervalOperator,
    Others,
    Verdict,
    judge,
    partition_keys,
    sort_others,
)

from tests.plugins.harness import call_with

TASK = "announce"


def states(**runs: str | None) -> dict[str, dict[str, str | None]]:
    return {f"backfill__{name}": {TASK: state} for name, state in runs.items()}


@pytest.mark.parametrize(
    ("others", "verdict"),
    [
        ({}, Verdict.EMIT),
        ({"jan": "success", "feb": "skipped"}, Verdict.EMIT),
        ({"jan": "success", "feb": None}, Verdict.WAIT),
        ({"jan": "queued"}, Verdict.WAIT),
        ({"jan": "running"}, Verdict.WAIT),
        ({"jan": "up_for_retry"}, Verdict.WAIT),
        ({"jan": "upstream_failed"}, Verdict.HOLD),
        ({"jan": "failed", "feb": "scheduled"}, Verdict.WAIT),
        ({"jan": "removed"}, Verdict.EMIT),
    ],
)
def test_the_last_run_of_a_backfill_speaks_for_all(others: dict[str, str | None], verdict: Verdict) -> None:
    assert judge(sort_others(states(**others), TASK, "backfill__me")) is verdict


def test_runs_that_are_no_backfill_do_not_count() -> None:
    found = sort_others({"scheduled__1": {TASK: None}, "manual__2": {TASK: "failed"}}, TASK, "backfill__me")
    assert found == Others(active=[], failed=[])


def test_a_run_does_not_wait_for_itself() -> None:
    assert sort_others({"backfill__me": {TASK: "running"}}, TASK, "backfill__me") == Others([], [])


@pytest.mark.parametrize("order", list(itertools.permutations("abcd")))
def test_one_at_a_time_exactly_one_of_them_emits_whatever_the_order(order: tuple[str, ...]) -> None:
    board: dict[str, dict[str, str | None]] = states(a=None, b=None, c=None, d=None)
    verdicts = []
    for name in order:
        verdict = judge(sort_others(board, TASK, f"backfill__{name}"))
        verdicts.append(verdict)
        board[f"backfill__{name}"][TASK] = "success" if verdict is Verdict.EMIT else "skipped"
    assert verdicts == [Verdict.WAIT] * 3 + [Verdict.EMIT]


def test_a_failed_run_holds_the_event_back_until_it_is_cleared() -> None:
    board: dict[str, dict[str, str | None]] = states(a="skipped", b="upstream_failed", c=None)
    assert judge(sort_others(board, TASK, "backfill__c")) is Verdict.HOLD
    board["backfill__c"][TASK], board["backfill__b"][TASK] = "skipped", None
    assert judge(sort_others(board, TASK, "backfill__b")) is Verdict.EMIT


class Store:
    """The state store of one asset; keeps what JSON keeps."""

    def __init__(self) -> None:
        self.text = "null"

    def get(self, key: str) -> Any:
        assert key == STATE_KEY
        return json.loads(self.text)

    def set(self, key: str, value: Any) -> None:
        assert key == STATE_KEY
        self.text = json.dumps(value)


TABLE = {"kind": "table", "name": "sales.transactions", "snapshot_id": "42", "rows": 10}
RESULTS: dict[str, dict[str, Any]] = {
    "ingest": {},
    "validate": {"datasets": {"inputs": [{**TABLE, "snapshot_id": "41"}], "outputs": [TABLE]}},
}


class Board:
    """The runs of one DAG, as the server would show them."""

    def __init__(self, months: int, run_type: str = "backfill", grain: Any = None) -> None:
        self.store, self.grain = Store(), grain
        self.partitions: list[str] = []
        prefix = "backfill__" if run_type == "backfill" else "scheduled__"
        self.runs = [f"{prefix}{month:02d}" for month in range(1, months + 1)]
        self.states: dict[str, dict[str, str | None]] = {run: {TASK: None} for run in self.runs}
        self.alive = set(self.runs)
        self.run_type = run_type
        self.reported = Reported()

    def announce(self, run: str) -> dict[str, Any] | None:
        """Run the task in one run; returns the event's extra, None when there is no event."""
        month = int(run[-2:])
        start = dt.datetime(2017, month, 1, tzinfo=dt.UTC)
        dag_run = SimpleNamespace(
            dag_id="ingest",
            run_id=run,
            run_type=self.run_type,
            data_interval_start=start,
            data_interval_end=start + dt.timedelta(days=28),
        )
        ti = SimpleNamespace(
            dag_id="ingest",
            run_id=run,
            task_id=TASK,
            xcom_pull=lambda task_ids: RESULTS[task_ids] | {"accepted": 10 * month},
            get_task_states=lambda dag_id, task_ids: self.states,
            get_dr_count=lambda dag_id, run_ids, states: len(self.alive & set(run_ids)),
        )
        accessor = SimpleNamespace(extra=None)
        partitioned = SimpleNamespace(add_partitions=self.partitions.extend)
        context: Any = {
            "ti": ti,
            "dag_run": dag_run,
            "asset_state_store": {SALES: self.store},
            "outlet_events": {SALES: accessor, partitions_of(SALES.name): partitioned},
        }
        operator = AnnounceIntervalOperator(
            task_id=TASK, asset=SALES, counted_by="ingest", published_by="validate", partitions=self.grain
        )
        try:
            call_with(operator, context)
        except AirflowSkipException:
            self.states[run][TASK] = "skipped"
            return None
        self.states[run][TASK] = "success"
        self.reported = operator.reported
        extra: dict[str, Any] = accessor.extra
        return extra


def test_a_scheduled_run_announces_its_own_interval() -> None:
    extra = Board(1, "scheduled").announce("scheduled__01")
    start, end = "2017-01-01T00:00:00+00:00", "2017-01-29T00:00:00+00:00"
    assert extra == {
        "intervals": {start: [end, 10]},
        "latest": {"start": start, "end": end},
        "rows": 10,
        "backfill": False,
    }


def test_what_is_announced_is_the_table_as_it_was_published() -> None:
    board = Board(1, "scheduled")
    board.announce("scheduled__01")
    assert (board.reported.inputs, board.reported.outputs) == ([TABLE], [])


def test_the_end_of_a_backfill_sums_it_up_once() -> None:
    board = Board(12)
    events = [board.announce(run) for run in reversed(board.runs)]
    assert events[:-1] == [None] * 11
    assert events[-1] is not None
    assert len(events[-1]["intervals"]) == 12
    assert events[-1]["rows"] == sum(10 * month for month in range(1, 13))
    assert events[-1]["latest"]["start"] == "2017-12-01T00:00:00+00:00"
    assert events[-1]["backfill"] is True


def test_the_next_backfill_announces_only_its_own() -> None:
    board = Board(4)
    later = {run: board.states.pop(run) for run in board.runs[2:]}
    for run in board.runs[:2]:
        board.announce(run)
    board.states |= later
    assert board.announce(board.runs[2]) is None
    extra = board.announce(board.runs[3])
    assert extra is not None
    assert sorted(extra["intervals"]) == ["2017-03-01T00:00:00+00:00", "2017-04-01T00:00:00+00:00"]


def test_an_attempt_that_died_after_writing_says_the_same_again() -> None:
    board = Board(3)
    for run in board.runs[:2]:
        board.announce(run)
    assert board.announce(board.runs[2]) == board.announce(board.runs[2])


def test_nobody_waits_for_the_runs_of_a_cancelled_backfill() -> None:
    board = Board(3)
    board.announce(board.runs[0])
    board.alive -= {board.runs[2]}
    extra = board.announce(board.runs[1])
    assert extra is not None
    assert len(extra["intervals"]) == 2


def test_after_the_failed_month_is_mended_all_are_announced() -> None:
    board = Board(3)
    board.states[board.runs[1]][TASK] = "upstream_failed"
    assert board.announce(board.runs[0]) is None
    assert board.announce(board.runs[2]) is None
    board.states[board.runs[1]][TASK] = None
    extra = board.announce(board.runs[1])
    assert extra is not None
    assert len(extra["intervals"]) == 3


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


def test_the_event_of_a_backfill_names_the_partitions_of_all_its_runs() -> None:
    board = Board(2, grain="day")
    assert board.announce(board.runs[0]) is None
    assert board.partitions == []
    board.announce(board.runs[1])
    assert len(board.partitions) == len(set(board.partitions)) == 2 * 27, "UTC midnights lie within the shop's days"
    assert board.partitions[0] == "2017-01-01T00:00:00"


def test_a_topic_whose_partitions_nobody_wants_has_one_outlet() -> None:
    assert AnnounceIntervalOperator(task_id=TASK, asset=SALES, counted_by="ingest").outlets == [SALES]
