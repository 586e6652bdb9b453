"""What operators start by hand, through Airflow's API, on the tables that the demonstration has made.

The tests follow one another: the trail records the upkeep, and the erasure comes last.
"""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from include.demo.airflow_api import FINISHED, AirflowApi
from include.demo.cluster import Cluster
from include.demo.run import add_months, month_bounds
from tests.pipeline.conftest import Platform
from tests.pipeline.running import MONTHS

PATIENCE_S = 900
#: Predictors look for erasures every few seconds.
FORGOTTEN_S = 60
POLL_S = 1.0
#: Tells no digits of a household to a pod's arguments and log, which are searched for them.
MASK = 1_000_003
#: What holds households' own data, or had them before, and is searched by the erasure itself.
DATA = ("kafka", "s3", "postgres")

# What the lake holds, as a pod sees it: rows by table, those of a household at `main` and in the published view. The
# largest number of a household is the number of all, too, which is an argument of pods.
LOOK = """
import json, re, sys
from pyiceberg.expressions import EqualTo
from include.jobs.lake.catalog import open_catalog
from include.jobs.lake.feature_view import published_view

catalog, tables = open_catalog(), {}
number = int(sys.argv[1]) // int(sys.argv[2])
if not number:
    known = catalog.load_table("features.users").scan(selected_fields=("household_id",)).to_arrow()
    number = sorted(set(known["household_id"].to_pylist()))[-2]
view, household = published_view(catalog), EqualTo("household_id", number)
sent = re.compile(rb'"household_id": *"?%d(?![0-9.])' % number)
for namespace in catalog.list_namespaces():
    for identifier in catalog.list_tables(namespace):
        name = ".".join(identifier)
        table = catalog.load_table(identifier)
        tables[name] = {"rows": table.scan().count()}
        if "household_id" in table.schema().column_names:
            tables[name]["household"] = table.scan(household).count()
            if name in view.snapshots:
                tables[name]["viewed"] = table.scan(household, snapshot_id=view.snapshots[name]).count()
        elif {"key", "value"} <= set(table.schema().column_names):
            broken = table.scan(selected_fields=("key", "value")).to_arrow().to_pylist()
            own = [row for row in broken if row["key"] == b"%d" % number or sent.search(row["value"] or b"")]
            tables[name]["household"] = len(own)
audit = catalog.load_table("platform.audit").scan().to_arrow().to_pylist() if "platform.audit" in tables else []
told = ("dag_id", "task_id", "state", "started_by", "inputs", "outputs")
trail = [{name: row[name] for name in told} for row in audit]
masked = number * int(sys.argv[2])
print("PODIUM_RESULT " + json.dumps({"household": masked, "tables": tables, "trail": trail}))
"""


@dataclass(frozen=True)
class Operations:
    """The running platform's Airflow, and its lake."""

    platform: Platform
    airflow: AirflowApi
    cluster: Cluster

    def run(self, dag_id: str, conf: dict[str, Any] | None = None) -> dict[str, Any]:
        """Trigger a DAG and wait; what each of its tasks returned.

        :raises AssertionError: it failed, with the end of the logs, or did not end in time.
        """
        self.airflow.unpause(dag_id)
        run_id, end = self.airflow.trigger(dag_id, conf), time.monotonic() + PATIENCE_S
        while (run := self.airflow.run(dag_id, run_id)).state not in FINISHED:
            assert time.monotonic() < end, f"{dag_id} has not ended after {PATIENCE_S} s"
            time.sleep(POLL_S)
        tasks = self.airflow.tasks(run)
        told = [line for task in tasks if task.state == "failed" for line in self.airflow.log_tail(task, 60)]
        assert run.state == "success", "\n".join(told)
        return {task.task_id: self.airflow.result(run, task.task_id) for task in tasks}

    def look(self, household: int = 0) -> dict[str, Any]:
        """What the lake holds, and of a household; 0: of the one with the second largest id, which it names."""
        self.cluster.start_command("look", "ingest", ["python", "-c", LOOK, str(household * MASK), str(MASK)])
        found = self.cluster.result("look")
        self.cluster.delete("look")
        return found

    def request_erasure(self, household: int) -> str:
        """Leave the request as `make erase` does; the pseudonym."""
        done = self.platform.running.stack("erase", text=f"{household}\n")
        assert done.returncode == 0, done.stdout
        return str(json.loads(done.stdout.rpartition("PODIUM_RESULT ")[2])["household"])

    def ask(self, household: int) -> tuple[int, int]:
        """Status of an answer for a household, and how many of its products are the household's own."""
        settings = self.platform.settings
        address = (
            f"{settings.reach.gateway_url}/serving/{settings.kubernetes.namespace}/"
            f"{settings.rollout.inference_service}/v1/models/{settings.recommender.model_name}:predict"
        )
        name, _, value = (self.platform.home / "run" / "serving.header").read_text().strip().partition(": ")
        body = {"instances": [{"household_id": household, "k": 20}]}
        answer = httpx.post(address, json=body, headers={name: value}, timeout=30)
        return answer.status_code, answer.json()["predictions"][0]["personal"] if answer.is_success else -1


@pytest.fixture(scope="module")
def operations(platform: Platform) -> Iterator[Operations]:
    assert platform.report["ok"], platform.transcript
    settings = platform.settings
    assert settings.ports is not None
    password = json.loads((platform.home / "credentials.json").read_text())["airflow_admin_password"]
    with ExitStack() as stack:
        airflow = AirflowApi(f"http://127.0.0.1:{settings.ports.airflow}", "admin", password)
        kubeconfig = settings.kubernetes.kubeconfig or platform.home / "kubeconfig"
        cluster = stack.enter_context(Cluster(kubeconfig, settings))
        yield Operations(platform, stack.enter_context(airflow), cluster)


def test_a_preflight_tells_what_the_backfill_of_all_months_would_replace(operations: Operations) -> None:
    settings, report = operations.platform.settings, operations.platform.report
    zone, first = ZoneInfo(settings.ingest.timezone), settings.ingest.transactions.start_date
    start, last = (month_bounds(add_months(first, months), zone)[0].isoformat() for months in (0, MONTHS - 1))
    done = operations.run("preflight_backfill", {"topic": "transactions", "from": start, "to": last})["preflight"]
    assert done["changes"] == {"replaced": MONTHS}
    assert done["offsets"] == report["ingest"]["read"]
    assert done["rows_before"] == report["ingest"]["accepted"]
    assert done["problems"] == []


def test_upkeep_goes_through_every_table_and_changes_no_row(operations: Operations) -> None:
    before = operations.look()["tables"]
    done = operations.run("maintain_lake")["maintain"]
    assert set(done["tables"]) == set(before)
    assert done["protected"]["missing"] == []
    # The snapshots of both versions, and of the view.
    assert done["protected"]["set"] >= 2 * 3 + len(before.keys() & {"sales.transactions", "features.serving"})
    for name in ("sales.transactions", "features.interactions", "reference.products"):
        assert done["tables"][name]["statistics"], name
    assert operations.look()["tables"] == before
    # A second run finds nothing to do.
    again = operations.run("maintain_lake", {"tables": "sales.transactions"})["maintain"]["tables"]
    assert {name: table["compacted_files"] for name, table in again.items()} == {"sales.transactions": 0}


def test_the_audit_trail_holds_every_task_and_names_nobody(operations: Operations) -> None:
    done = operations.run("record_audit")
    assert done["record"]["added"] > 0
    assert done["verify"]["head"] == done["record"]["head"]
    trail = operations.look()["trail"]
    assert len(trail) == done["verify"]["rows"]
    tasks = {(row["dag_id"], row["task_id"]) for row in trail}
    assert {
        ("ingest_transactions", "ingest"),
        ("build_features", "build"),
        ("train_recommender", "train"),
        ("rollout_recommender", "rollout"),
        ("check_drift", "check"),
        ("maintain_lake", "maintain"),
    } <= tasks
    asked = {json.loads(row["outputs"])[0]["name"] for row in trail if row["state"] == "requested"}
    assert {"create_backfill", "patch_dag", "trigger_dag_run"} <= asked
    (built,) = [row for row in trail if row["task_id"] == "build"]
    outputs = {item["name"]: item for item in json.loads(built["outputs"])}
    assert int(outputs["features.serving"]["snapshot_id"]) > 0
    assert outputs["features.interactions"]["rows"] > 0
    # Tasks without a pod tell what they go by, too.
    announced, *_ = [
        row
        for row in trail
        if (row["dag_id"], row["task_id"], row["state"]) == ("ingest_transactions", "announce", "skipped")
    ]
    tables = {item["name"]: item for item in json.loads(announced["inputs"])}
    assert int(tables["sales.transactions"]["snapshot_id"]) > 0
    assert tables["sales.transactions"]["rows"] > 0
    (rolled_out,) = [row for row in trail if row["task_id"] == "rollout"]
    (served,) = json.loads(rolled_out["outputs"])
    assert (served["kind"], served["version"]) == ("service", json.loads(rolled_out["inputs"])[0]["version"])
    by_hand = {row["started_by"] for row in trail if row["dag_id"] == "maintain_lake"}
    assert all(name.startswith("user:") and "admin" not in name for name in by_hand)


def test_a_household_is_erased_everywhere_and_no_request_is_refused(operations: Operations) -> None:
    looked = operations.look()
    before, household = looked["tables"], looked["household"] // MASK
    named = {name: table for name, table in before.items() if table.get("household")}
    assert {"sales.transactions", "features.users", "features.interactions", "features.preferences"} <= set(named)
    assert all(table["viewed"] == table["household"] for table in named.values() if "viewed" in table)

    answers: list[tuple[int, int]] = []
    ended = threading.Event()

    def shop() -> None:
        while not ended.wait(0.05):
            answers.append(operations.ask(household))

    shopping = threading.Thread(target=shop)
    shopping.start()
    try:
        pseudonym = operations.request_erasure(household)
        done = operations.run("erase_household", {"household": pseudonym})
        end = time.monotonic() + FORGOTTEN_S
        while answers[-1] != (200, 0):
            assert time.monotonic() < end, f"the predictors know it still after {FORGOTTEN_S} s: {answers[-1]}"
            time.sleep(POLL_S)
    finally:
        ended.set()
        shopping.join()
    assert {status for status, _ in answers} == {200}
    assert answers[0][1] > 0

    assert {name: count for name, count in done["erase"]["rows"].items() if count} == {
        name: table["household"] for name, table in named.items()
    }
    assert done["prove"]["searched"]["left"] == {}
    # The topic keeps its records for ever, and nobody but its owner takes them.
    assert done["prove"]["verdict"] == "found"
    assert list(done["prove"]["topics"]["left"]) == ["topic shop.transactions"]
    after = operations.look(household)["tables"]
    assert {name: (table["household"], table.get("viewed", 0)) for name, table in after.items() if name in named} == {
        name: (0, 0) for name in named
    }
    gone = {name: before[name]["rows"] - after[name]["rows"] for name in named}
    assert gone == {name: table["household"] for name, table in named.items()}
    assert in_airflow(operations.platform, household) == []
    assert in_files(operations.platform, household) == []
    operations.run("record_audit")


def in_airflow(platform: Platform, household: int) -> list[tuple[str, str]]:
    """Rows of any of Airflow's tables that name the household, with the table."""
    secrets = json.loads((platform.home / "credentials.json").read_text())
    assert platform.settings.ports is not None
    named, found = _named(household), []
    with psycopg.connect(
        host="127.0.0.1",
        port=platform.settings.ports.postgres,
        dbname="airflow",
        user="airflow",
        password=secrets["airflow_database_password"],
    ) as database:
        tables = database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in tables:
            rows = SQL("SELECT line FROM (SELECT each::text AS line FROM {} AS each) AS lines WHERE line ~ %s")
            lines = database.execute(rows.format(Identifier(table)), (str(household),)).fetchall()
            found += [(table, line) for (line,) in lines if named.search(line.encode())]
    return found


def _named(household: int) -> re.Pattern[bytes]:
    """The id of a household, after that word. The digits alone may be a process's, or the decimals of a duration."""
    return re.compile(rb"household[^\n]{0,60}?(?<![0-9.])%d(?![0-9])" % household)


def in_files(platform: Platform, household: int) -> list[tuple[str, bytes]]:
    """Files of the platform that name the household, and where: logs, objects of the cluster, addresses, … but data."""
    named = _named(household)
    files = (path for path in platform.home.rglob("*") if path.is_file())
    data = tuple(platform.home / "data" / name for name in DATA)
    found = []
    for path in files:
        if not any(path.is_relative_to(folder) for folder in data):
            content = path.read_bytes()
            found += [(str(path), content[max(0, at.start() - 200) : at.end() + 100]) for at in named.finditer(content)]
    return found
