import asyncio
import json
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from podium.interval_timetable import IntervalTimetable
from podium.operators.announce import own_intervals
from podium.platform import settings
from podium.templates import interval_end, interval_start
from podium.timetables import each_interval
from podium.triggers.batch import BatchTrigger, read_batch

START, END = "2017-01-01T05:00:00+00:00", "2017-02-01T05:00:00+00:00"
GOOD = {"start": "2017-01-01T00:00:00-05:00", "end": "2017-02-01T05:00:00Z", "rows": 7}


def test_an_announcement_gives_the_bounds_in_utc() -> None:
    assert read_batch(json.dumps(GOOD).encode()) == {"start": START, "end": END}


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (None, "Expecting value"),
        (b"\xff", "utf-8|Expecting"),
        (b"[]", "no JSON object"),
        (b"{}", "lacks start or end"),
        (json.dumps(GOOD | {"end": 5}).encode(), "lacks start or end"),
        (json.dumps(GOOD | {"end": "tomorrow"}).encode(), "tomorrow"),
        (json.dumps(GOOD | {"end": "2017-02-01T00:00:00"}).encode(), "need an offset"),
        (json.dumps(GOOD | {"end": GOOD["start"]}).encode(), "start must lie before end"),
    ],
)
def test_what_is_no_announcement_says_why(message: bytes | None, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_batch(message)


def test_the_trigger_fires_for_batches_and_rejects_the_rest() -> None:
    async def stream() -> Any:
        for message in (b"no", json.dumps(GOOD).encode(), b"{}"):
            yield message

    async def fired() -> list[Any]:
        trigger = BatchTrigger(topics=["shop.batches"])
        return [event.payload async for event in trigger.filter_shared_stream(stream())]

    with mock.patch("podium.triggers.batch.reject_shared_stream_event", autospec=True) as reject:
        assert asyncio.run(fired()) == [{"start": START, "end": END}]
    assert reject.call_count == 2


def test_the_trigger_survives_being_written_down() -> None:
    trigger = BatchTrigger(topics=["b", "a"], dlq_topic="dlq")
    path, arguments = trigger.serialize()
    assert path == "podium.triggers.batch.BatchTrigger"
    assert BatchTrigger(**arguments).shared_stream_key() == trigger.shared_stream_key()


def announced(*batches: dict[str, str]) -> SimpleNamespace:
    events = [SimpleNamespace(extra={"from_trigger": True, "payload": batch}) for batch in batches]
    return SimpleNamespace(
        dag_id="d", run_id="r", data_interval_start=None, data_interval_end=None, consumed_asset_events=events
    )


def test_a_run_that_a_batch_has_started_is_about_its_interval() -> None:
    run = announced({"start": START, "end": END})
    assert (interval_start(run), interval_end(run)) == (START, END)


def test_a_run_that_several_batches_have_started_is_about_each_once() -> None:
    later = {"start": END, "end": "2017-03-01T05:00:00+00:00"}
    run = announced(later, {"start": START, "end": END}, later)
    assert interval_start(run) == f"{START},{END}"
    assert interval_end(run) == f"{END},2017-03-01T05:00:00+00:00"


def test_each_of_several_intervals_is_announced_with_its_own_rows() -> None:
    bounds = [
        ("2017-01-01T00:00:00+00:00", "2017-01-03T00:00:00+00:00"),
        ("2017-01-05T00:00:00+00:00", "2017-01-06T00:00:00+00:00"),
    ]
    rows = {"2017-01-01T00:00:00Z": 1, "2017-01-02T00:00:00Z": 2, "2017-01-05T00:00:00Z": 4}
    assert own_intervals(bounds, {"accepted": 7, "accepted_by_start": rows}) == {
        bounds[0][0]: [bounds[0][1], 3],
        bounds[1][0]: [bounds[1][1], 4],
    }


def test_a_topic_with_batches_is_scheduled_by_cron_and_by_announcement() -> None:
    topic = settings().ingest.transactions
    assert isinstance(each_interval(topic), IntervalTimetable)
    schedule = each_interval(topic.model_copy(update={"batches": "shop.batches"}))
    (watcher,) = schedule.asset_condition.watchers
    assert (watcher.trigger.topics, watcher.trigger.dlq_topic) == (["shop.batches"], "shop.batches.dlq")
    assert schedule.timetable.summary == topic.schedule
