"""What starts runs, in a real Airflow: backfills and their one event, pauses, dates that are over or to come."""

import datetime as dt
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.cluster import Platform, wait_for
from tests.plugins.live.airflow import Airflow, configure, running_airflow
from tests.services import Services

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
DAYS = [f"2026-01-0{day}" for day in range(1, 5)]
ENDED = ("success", "failed")
SLOW = {"SLOW_AFTER_S": "20", "SLOW_AFTER_SUCCESSES": "3", "SLOW_CHECK_S": "1"}
# What is asked of Airflow's API, which has other things to do.
wait = partial(wait_for, seconds=240, every=0.5)


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the runs are told to do."""
    return tmp_path_factory.mktemp("orders")


@pytest.fixture(scope="module")
def schedules(platform: Platform, services: Services, orders: Path) -> Iterator[Airflow]:
    """Airflow with the DAGs of `schedules/`."""
    with pytest.MonkeyPatch.context() as patch:
        configure(patch, services)
        for name, value in SLOW.items():
            patch.setenv(f"PODIUM_NOTIFICATIONS__{name}", value)
        folder = Path(__file__).parent / "schedules"
        # Workers of a busy machine ask for longer than Airflow's 5 s.
        further = {"PODIUM_TEST_ORDERS": str(orders), "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60"}
        with running_airflow(services, platform.kubeconfig, folder, further) as running:
            yield running


def runs(airflow: Airflow, dag_id: str) -> dict[str, dict[str, Any]]:
    """The runs of a DAG, by the day on which their interval starts, else by their id."""
    found = airflow.call("GET", f"/dags/{dag_id}/dagRuns", params={"limit": 100})["dag_runs"]
    return {(run["data_interval_start"] or run["dag_run_id"])[:10]: run for run in found}


def ended(airflow: Airflow, dag_id: str) -> dict[str, str]:
    """How the runs of a DAG have ended, once all of them have."""
    states = {day: run["state"] for day, run in runs(airflow, dag_id).items()}
    return states if states and set(states.values()) <= set(ENDED) else {}


def events(airflow: Airflow, dag_id: str) -> list[dict[str, Any]]:
    """The extras of what was announced, in order."""
    found = airflow.call("GET", "/assets/events", params={"source_dag_id": dag_id, "order_by": "timestamp"})
    return [event["extra"] for event in found["asset_events"]]


def heard(airflow: Airflow, dag_id: str) -> list[list[dict[str, Any]]]:
    """What each run of a DAG was started by, in order; empty while one is at work."""
    found = airflow.call("GET", f"/dags/{dag_id}/dagRuns", params={"order_by": "run_after"})["dag_runs"]
    if any(run["state"] != "success" for run in found):
        return []
    return [airflow.result(dag_id, run["dag_run_id"]) for run in found]


def days(event: dict[str, Any]) -> list[str]:
    return [start[:10] for start in event["intervals"]]


def backfill(airflow: Airflow, dag_id: str, **further: Any) -> int:
    body = {
        "dag_id": dag_id,
        "from_date": f"{DAYS[0]}T00:00:00Z",
        "to_date": f"{DAYS[-1]}T00:00:00Z",
        "max_active_runs": 4,
    }
    return int(airflow.call("POST", "/backfills", json=body | further)["id"])


def is_completed(airflow: Airflow, number: int) -> bool:
    return airflow.call("GET", f"/backfills/{number}")["completed_at"] is not None


def clear(airflow: Airflow, dag_id: str, day: str) -> None:
    run_id = runs(airflow, dag_id)[day]["dag_run_id"]
    airflow.call("POST", f"/dags/{dag_id}/dagRuns/{run_id}/clear", json={"dry_run": False})


def test_intervals_of_the_schedule_that_are_run_again_are_one_event(schedules: Airflow) -> None:
    wait(lambda: len(ended(schedules, "again")) == 4, "the schedule's runs")
    wait(lambda: len(events(schedules, "again")) == 4, "their events")
    wait(lambda: sum(map(len, heard(schedules, "after_again"))) == 4, "what follows them")
    before = len(heard(schedules, "after_again"))
    number = backfill(schedules, "again", reprocess_behavior="completed")
    wait(lambda: is_completed(schedules, number), "the backfill")
    wait(lambda: len(heard(schedules, "after_again")) == before + 1, "what follows the backfill")
    assert {run["run_type"] for run in runs(schedules, "again").values()} == {"backfill"}
    assert all(run["dag_run_id"].startswith("scheduled__") for run in runs(schedules, "again").values())
    (event,) = heard(schedules, "after_again")[-1]
    assert events(schedules, "again")[4:] == [event]
    assert (days(event), event["rows"], event["backfill"], event["failed"]) == (DAYS, 40, True, {})
    assert event["latest"]["start"][:10] == DAYS[-1]


def test_a_backfill_whose_intervals_are_all_there_announces_nothing(schedules: Airflow) -> None:
    wait(lambda: len(ended(schedules, "skipped")) == 4, "the schedule's runs")
    wait(lambda: len(events(schedules, "skipped")) == 4, "their events")
    number = backfill(schedules, "skipped", reprocess_behavior="none")
    wait(lambda: is_completed(schedules, number), "the backfill")
    assert len(events(schedules, "skipped")) == 4


def test_what_a_backfill_with_a_failure_has_published_is_announced_at_its_end_and_the_mended_day_later(
    schedules: Airflow, orders: Path
) -> None:
    """The failing one ends last. What is cleared afterwards is no backfill; a second backfill takes its own only."""
    order = orders / f"failing-{DAYS[3]}.fail"
    order.touch()
    number = backfill(schedules, "failing", max_active_runs=1)
    wait(lambda: events(schedules, "failing"), "the event")
    (first,) = events(schedules, "failing")
    assert (days(first), [start[:10] for start in first["failed"]], first["backfill"]) == (DAYS[:3], DAYS[3:], True)
    wait(lambda: is_completed(schedules, number), "Airflow to take the backfill for completed")
    order.unlink()
    clear(schedules, "failing", DAYS[3])
    wait(lambda: len(events(schedules, "failing")) == 2, "the event of the mended day")
    mended = events(schedules, "failing")[1]
    assert (days(mended), mended["backfill"]) == (DAYS[3:], False)
    backfill(schedules, "failing", to_date=f"{DAYS[1]}T00:00:00Z", reprocess_behavior="completed")
    wait(lambda: len(events(schedules, "failing")) == 3, "the event of the second backfill")
    again = events(schedules, "failing")[2]
    assert (days(again), again["failed"], again["backfill"]) == (DAYS[:2], {}, True)


def test_what_a_cancelled_backfill_has_published_is_announced_when_nothing_of_it_runs_any_longer(
    schedules: Airflow, orders: Path
) -> None:
    order = orders / f"cancelled-{DAYS[1]}.wait"
    order.touch()
    number = backfill(schedules, "cancelled", max_active_runs=1)
    wait((orders / f"cancelled-{DAYS[1]}.begun").exists, "the second run")
    schedules.call("PUT", f"/backfills/{number}/cancel")
    assert not events(schedules, "cancelled"), "one of it is still at work"
    order.unlink()
    wait(lambda: events(schedules, "cancelled"), "the event")
    (event,) = events(schedules, "cancelled")
    assert (days(event), [start[:10] for start in event["failed"]]) == (DAYS[:2], DAYS[2:])


def test_a_paused_backfill_announces_nothing_before_it_has_gone_on_to_its_end(schedules: Airflow, orders: Path) -> None:
    order = orders / f"paused_backfill-{DAYS[0]}.wait"
    order.touch()
    number = backfill(schedules, "paused_backfill", max_active_runs=1)
    wait((orders / f"paused_backfill-{DAYS[0]}.begun").exists, "the first run")
    schedules.call("PUT", f"/backfills/{number}/pause")
    order.unlink()
    wait(lambda: runs(schedules, "paused_backfill")[DAYS[0]]["state"] == "success", "the first run's end")
    schedules.call("PUT", f"/backfills/{number}/unpause")
    wait(lambda: events(schedules, "paused_backfill"), "the event")
    assert [days(event) for event in events(schedules, "paused_backfill")] == [DAYS]


def test_a_backfill_may_run_backwards(schedules: Airflow) -> None:
    backfill(schedules, "backwards", run_backwards=True, max_active_runs=1)
    wait(lambda: events(schedules, "backwards"), "the event")
    assert [days(event) for event in events(schedules, "backwards")] == [DAYS]


def test_events_that_come_while_a_dag_is_paused_start_one_run_when_it_is_switched_on(schedules: Airflow) -> None:
    schedules.call("PATCH", "/dags/hears", json={"is_paused": True})
    beats = [schedules.run("beats") for _ in range(2)]
    wait(lambda: all(schedules.state("beats", run) == "success" for run in beats), "two events")
    assert not schedules.call("GET", "/dags/hears/dagRuns")["dag_runs"]
    schedules.call("PATCH", "/dags/hears", json={"is_paused": False})
    wait(lambda: heard(schedules, "hears"), "a run")
    third = schedules.run("beats")
    wait(lambda: len(heard(schedules, "hears")) == 2, "the next")
    told = [sorted(event["run"] for event in run) for run in heard(schedules, "hears")]
    assert told == [sorted(beats), [third]]


def published(airflow: Airflow, view: str, expected: str) -> None:
    run = airflow.run("publishes", conf={"view": view})
    wait(lambda: airflow.state("publishes", run, "announce") == expected, f"{view} to be announced, or not")


def test_nothing_follows_what_was_announced_before_and_what_a_lost_job_has_published_is_announced_by_the_next(
    schedules: Airflow, orders: Path
) -> None:
    published(schedules, "1", "success")
    published(schedules, "1", "skipped")
    order = orders / "publish.fail"
    order.touch()
    published(schedules, "2", "upstream_failed")
    order.unlink()
    published(schedules, "2", "success")
    assert [event["view"] for event in events(schedules, "publishes")] == ["1", "2"]
    wait(lambda: sum(map(len, heard(schedules, "after_publishes"))) == 2, "what follows")


def trigger(airflow: Airflow, dag_id: str, date: str | None) -> tuple[int, dict[str, Any]]:
    """What the UI does: status and answer."""
    body = {"logical_date": date, "conf": {}}
    answer = airflow.api.post(f"{airflow.url}/api/v2/dags/{dag_id}/dagRuns", json=body)
    return answer.status_code, answer.json()


def test_a_run_triggered_after_the_last_interval_takes_that_one(schedules: Airflow) -> None:
    status, run = trigger(schedules, "over", "2026-11-30T12:00:00Z")
    assert status == 200
    assert (run["data_interval_start"], run["data_interval_end"]) == ("2026-02-01T05:00:00Z", "2026-03-01T05:00:00Z")
    wait(lambda: schedules.state("over", run["dag_run_id"], "announce") == "success", "the run")
    assert [event["latest"]["start"] for event in events(schedules, "over")] == ["2026-02-01T05:00:00+00:00"]


def test_a_run_triggered_within_an_interval_takes_the_one_before(schedules: Airflow) -> None:
    status, run = trigger(schedules, "over", "2026-02-10T12:00:00Z")
    assert (status, run["data_interval_end"]) == (200, "2026-02-01T05:00:00Z")


def test_a_run_triggered_before_an_interval_is_over_is_refused_with_the_reason(schedules: Airflow) -> None:
    status, answer = trigger(schedules, "to_come", "2026-11-30T12:00:00Z")
    assert status == 400
    assert "the first one lasts from 2126-01-01T00:00:00+00:00 to 2126-01-02T00:00:00+00:00" in answer["detail"]


def test_a_run_triggered_without_a_date_fails_and_says_how_to_trigger_it(schedules: Airflow) -> None:
    _, run = trigger(schedules, "over", None)
    wait(lambda: schedules.state("over", run["dag_run_id"]) == "failed", "the task")
    assert "Trigger it again with one" in "\n".join(schedules.log("over", run["dag_run_id"], 1))


def slow(airflow: Airflow, dag_id: str) -> list[tuple[str, int]]:
    """Tries that were told of as slow: run and number."""
    found = airflow.call("GET", "/eventLogs", params={"dag_id": dag_id, "event": "podium_slow"})["event_logs"]
    return [(entry["run_id"], entry["try_number"]) for entry in found]


def test_a_task_that_hangs_is_told_of_once_and_first_runs_are_not(schedules: Airflow, orders: Path) -> None:
    order = orders / "nap.wait"
    order.touch()
    first = schedules.run("naps")
    wait(lambda: schedules.state("naps", first) == "running", "the first run")
    begun = dt.datetime.fromisoformat(schedules.task("naps", first)["start_date"])
    wait(lambda: dt.datetime.now(dt.UTC) - begun > dt.timedelta(seconds=25), "it to take long")
    order.unlink()
    usual = [schedules.run("naps") for _ in range(3)]
    wait(lambda: all(schedules.state("naps", run) == "success" for run in (first, *usual)), "some successes")
    assert slow(schedules, "naps") == [], "nobody knew what is usual"
    # What is usual is what nearly all took: the first one is too much of so few.
    schedules.call("DELETE", f"/dags/naps/dagRuns/{first}")
    order.touch()
    hangs = schedules.run("naps")
    wait(lambda: slow(schedules, "naps"), "it to be told of")
    assert schedules.state("naps", hangs) == "running"
    order.unlink()
    wait(lambda: schedules.state("naps", hangs) == "success", "it to end")
    (told,) = slow(schedules, "naps")
    assert told[0] == hangs
