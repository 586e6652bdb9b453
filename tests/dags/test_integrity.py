"""What holds for every DAG: it parses, quickly, and whoever is called at night finds what they need."""

import datetime as dt
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from podium.dag_defaults import Tag

from include.config import load_settings

DAGS = Path(__file__).parents[2] / "dags"
FILES = sorted(DAGS.glob("*.py"))
INGESTS = {"ingest_transactions", "ingest_promotions", "ingest_inventory"}
PIPELINES = INGESTS | {"build_features", "train_recommender", "rollout_recommender", "check_drift"}
EXPECTED = PIPELINES | {
    "account_gpu_hours",
    "check_platform",
    "erase_household",
    "ingest_reference",
    "maintain_lake",
    "preflight_backfill",
    "record_audit",
    "replay_quarantine",
    "run_job",
}
PARSE_S = 0.5
HEAVY = {"mlflow", "pandas", "pyarrow", "boto3", "tensorflow", "pyspark", "great_expectations", "confluent_kafka"}


@pytest.fixture(scope="session")
def bag() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(DAGS))


@pytest.fixture(params=sorted(EXPECTED))
def dag(bag: Any, request: pytest.FixtureRequest) -> Any:
    return bag.dags[request.param]


def test_all_files_import(bag: Any) -> None:
    assert bag.import_errors == {}
    assert set(bag.dags) == EXPECTED


def test_one_file_for_each_dag_and_one_for_all_ingests() -> None:
    assert {file.stem for file in FILES} == EXPECTED - INGESTS | {"ingest"}


@pytest.mark.parametrize("name", ["transactions", "promotions", "inventory"])
def test_each_topic_has_its_own_contract_and_tables(bag: Any, name: str) -> None:
    topic = load_settings("local").ingest.topics[name]
    dag = bag.dags[f"ingest_{name}"]
    for task_id in ("ingest", "validate"):
        arguments = dag.get_task(task_id).arguments
        assert arguments[arguments.index("--contract") + 1] == f"{name}.v1"
        assert arguments[arguments.index("--table") + 1] == topic.table
    assert dag.get_task("announce").asset.name == topic.table
    assert f"airflow backfill create --dag-id ingest_{name}" in dag.doc_md


def test_docs_say_what_when_backfill_and_what_to_do_when_a_task_fails(dag: Any) -> None:
    for heading in ("### What", "### When", "### Backfill", "### When a task fails"):
        assert heading in dag.doc_md
    runbook = dag.doc_md.split("### When a task fails")[1]
    for task_id in dag.task_ids:
        assert f"| `{task_id}` |" in runbook


def test_tasks_have_owner_retries_and_a_limit_in_time(dag: Any) -> None:
    for task in dag.tasks:
        assert task.owner not in ("", "airflow")
        assert task.retries >= 1
        assert task.execution_timeout is not None


def test_tags_are_known_ones(dag: Any) -> None:
    assert dag.tags
    assert set(dag.tags) <= set(Tag)


def test_no_dag_catches_up_by_itself(dag: Any) -> None:
    assert dag.catchup is False


def test_no_date_of_a_dag_lets_a_triggered_run_succeed_without_a_task(dag: Any) -> None:
    """Airflow makes no task for a run before the first or after the last date of a DAG or task: it succeeds."""
    for each in (dag, *dag.tasks):
        assert (each.start_date, each.end_date) == (None, None)


@pytest.mark.parametrize("dag_id", sorted(INGESTS))
@pytest.mark.parametrize("year", [2015, 2017, 2018, 2030])
def test_an_ingest_runs_no_interval_beyond_those_of_its_topic(bag: Any, dag_id: str, year: int) -> None:
    from airflow.serialization.serialized_objects import DagSerialization
    from pendulum import datetime

    timetable = DagSerialization.from_dict(DagSerialization.to_dict(bag.dags[dag_id])).timetable
    if year < 2017:
        with pytest.raises(ValueError, match="No interval is over by"):
            timetable.infer_manual_data_interval(run_after=datetime(year, 6, 15))
        return
    interval = timetable.infer_manual_data_interval(run_after=datetime(year, 6, 15))
    end = {2017: {"inventory": "2017-06-14T04:00:00Z"}.get(dag_id.removeprefix("ingest_"), "2017-06-01T04:00:00Z")}
    assert interval.end.isoformat().replace("+00:00", "Z") == end.get(year, "2018-01-01T05:00:00Z")


@pytest.mark.parametrize("dag_id", sorted(PIPELINES))
def test_pipelines_can_be_backfilled(bag: Any, dag_id: str) -> None:
    """Airflow refuses a backfill of a DAG without a rhythm, and makes a run for each tick of one that has it."""
    from airflow.serialization.serialized_objects import DagSerialization

    dag = DagSerialization.from_dict(DagSerialization.to_dict(bag.dags[dag_id]))
    start, end = (dt.datetime(2017, month, 15, tzinfo=dt.UTC) for month in (1, 4))
    assert dag.timetable.periodic
    ticks = 90 if dag_id == "ingest_inventory" else 3
    assert len(list(dag.iter_dagrun_infos_between(start, end))) == ticks


@pytest.mark.parametrize("dag_id", sorted(PIPELINES - INGESTS))
def test_what_follows_others_makes_no_run_of_its_own_at_the_first_parse(bag: Any, dag_id: str) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    dag = DagSerialization.from_dict(DagSerialization.to_dict(bag.dags[dag_id]))
    info = dag.next_dagrun_info(last_automated_run_info=None)
    assert info.run_after > dt.datetime.now(dt.UTC)


def test_assets_link_the_dags_into_one_pipeline(bag: Any) -> None:
    produced = {outlet.name: dag.dag_id for dag in bag.dags.values() for task in dag.tasks for outlet in task.outlets}
    assert produced == {
        "sales.transactions": "ingest_transactions",
        "sales.promotions": "ingest_promotions",
        "stock.inventory": "ingest_inventory",
        "features": "build_features",
        "recommender.candidate": "train_recommender",
        "recommender.champion": "rollout_recommender",
        "recommender.drift.found": "check_drift",
    }


def test_training_takes_as_many_slots_of_the_gpu_pool_as_it_has_gpus(bag: Any) -> None:
    task = bag.dags["train_recommender"].get_task("train")
    assert (task.pool, task.pool_slots) == ("gpu-a100", 2)


def test_parse_time_of_each_file_once_the_providers_are_imported(record_property: Any) -> None:
    """As a forked parser sees it: the preload is there, nothing of this repository is."""
    script = textwrap.dedent("""
        import runpy, sys, time
        sys.path[:0] = sys.argv[1:4]
        sys.argv = ["airflow", "dag-processor", *sys.argv[4:]]
        import airflow_local_settings, os
        for file in sys.argv[2:]:
            pid = os.fork()
            if pid == 0:
                started = time.process_time()
                runpy.run_path(file)
                print(f"{file}\\t{time.process_time() - started:.3f}", flush=True)
                os._exit(0)
            os.waitpid(pid, 0)
    """)
    root = DAGS.parent
    paths = [str(root), str(root / "plugins"), str(root / "include" / "airflow" / "config")]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *paths, *map(str, FILES)],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = dict(line.split("\t") for line in done.stdout.splitlines() if "\t" in line)
    assert set(seconds) == set(map(str, FILES))
    for file, spent in seconds.items():
        record_property(f"parse_s[{Path(file).stem}]", spent)
        # CPU time, so that a busy machine does not fail the test.
        assert float(spent) < PARSE_S, file


def test_dag_files_import_nothing_heavy() -> None:
    script = (
        "import runpy, sys\nsys.path[:0] = sys.argv[1:3]\nfor f in sys.argv[3:]: runpy.run_path(f)\nprint(*sys.modules)"
    )
    root = DAGS.parent
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(root), str(root / "plugins"), *map(str, FILES)],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded & HEAVY == set()


def test_importing_does_not_touch_the_network() -> None:
    script = textwrap.dedent("""
        import runpy, socket, sys
        sys.path[:0] = sys.argv[1:3]
        def refuse(*_, **__):
            raise RuntimeError("network at import")
        socket.socket.connect = refuse
        socket.getaddrinfo = refuse
        for file in sys.argv[3:]:
            runpy.run_path(file)
    """)
    root = DAGS.parent
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(root), str(root / "plugins"), *map(str, FILES)], check=True
    )
