"""One household erased from a lake with everything in it, and the proof read from raw files."""

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.types import LongType
from pyspark.sql import SparkSession

from include.jobs.lake.catalog import ensure_table
from include.jobs.lake.commits import STAGING, files_of, publish_interval, scan_interval
from include.jobs.lake.connections import Connections
from include.jobs.lake.erasures import listed_pseudonyms
from include.jobs.lake.feature_view import published_view
from include.jobs.lake.pages import closed_intervals, staged_intervals
from include.jobs.lake.pseudonyms import Pseudonyms
from include.jobs.lake.result import read_object
from include.jobs.lake.tables import FEATURES_SERVING, HOUSEHOLDS, QUARANTINE, EventTables
from include.jobs.ranking.model import Candidates, RankerModel, own_frequency
from include.jobs.upkeep.erase import NotErasedError, Verdict, erase, prove, report_address
from include.jobs.upkeep.erase_models import FLAG, Artifacts, erase_artifacts, search_runs
from include.jobs.upkeep.erase_tables import ErasureError
from include.jobs.upkeep.eyes import Eyes
from include.jobs.upkeep.maintain import Policy, maintain_all
from include.jobs.upkeep.protect import Models, protect
from include.jobs.upkeep.search import Search
from include.jobs.upkeep.tables import all_tables
from tests.jobs.contracted import SALES
from tests.jobs.published import publish_view
from tests.jobs.shapes import ALONE, ID, NAMED, OTHERS
from tests.jobs.upkeep.lake import broken, fill, hour, record, register, sale

ERASED, OTHER = 900, 901
NAME = SALES.identifier
TOPIC = "shop.transactions"
RAW = [
    (b"900", b"no JSON at all"),
    (None, b'{"household_id": 900, "quantity": "one"}'),
    (b"901", b'{\\"household_id\\":\\"900\\"'),
    (b"901", b'{"household_id": 9001, "basket_id": 900}'),
    (None, b"900"),
]


def sales(number: int) -> list[dict[str, Any]]:
    """Six rows, two of the household that is to go."""
    return [sale(number * 10 + line, hour(number), ERASED if line < 2 else OTHER + line) for line in range(6)]


def model(households: list[int]) -> RankerModel:
    """Two products for each household."""
    count = len(households)
    candidates = Candidates(
        household_id=np.array(households),
        offsets=np.arange(count + 1) * 2,
        product_id=np.arange(count * 2),
        inputs=np.arange(count * 2, dtype=np.float32).reshape(-1, 1),
        popular_product_id=np.array([1, 2]),
        popular_purchases=np.array([5.0, 4.0]),
    )
    return RankerModel("own_frequency", own_frequency(), dt.date(2017, 12, 1), candidates)


@pytest.fixture
def topic(kafka: str) -> dict[str, str]:
    """Records of the household and of another one; how to get at them."""
    admin = AdminClient({"bootstrap.servers": kafka})
    if TOPIC not in admin.list_topics(timeout=10).topics:
        config = {"retention.ms": "-1"}
        admin.create_topics([NewTopic(TOPIC, 1, 1, config=config)])[TOPIC].result()
        producer = Producer({"bootstrap.servers": kafka})
        for key, value in RAW:
            producer.produce(TOPIC, value, key, 0)
        assert producer.flush(60) == 0
    return {"bootstrap.servers": kafka}


@pytest.fixture
def lake(catalog: SqlCatalog, models: Models, tmp_path: Path) -> dict[str, Any]:
    """Three hours closed, one staged, quarantine, a dimension, two models."""
    quarantined = [broken(100 + place, hour(1), key, value) for place, (key, value) in enumerate(RAW)]
    before = fill(catalog, 0, [row for row in sales(0) if row["household_id"] != ERASED], record=record(0, 4))
    seen = fill(catalog, 0, sales(0), record=record(0, 6))
    fill(catalog, 1, quarantined, spec=QUARANTINE)
    fill(catalog, 1, sales(1), record=record(1, 6, 5))
    staged = record(5, 6)
    fill(catalog, 5, sales(5), branch=STAGING)
    with catalog.load_table(NAME).transaction() as transaction:
        transaction.set_properties({staged.staged_key: staged.to_json()})
    ensure_table(catalog, HOUSEHOLDS).append(
        pa.Table.from_pylist([{"household_id": ERASED}, {"household_id": OTHER}], schema=HOUSEHOLDS.arrow_schema)
    )
    for snapshot in (before, seen):
        version = register(models.client, "recommender", {NAME: snapshot})
        run_id = models.client.get_model_version("recommender", version).run_id
        (tmp_path / version).mkdir()
        model([899, ERASED, OTHER]).save(tmp_path / version)
        models.client.log_artifacts(run_id, str(tmp_path / version), "model")
    protect(catalog, all_tables(catalog), models.snapshots())
    return {"before": before, "seen": seen}


def expire(spark: SparkSession, catalog: SqlCatalog) -> None:
    maintain_all(spark, all_tables(catalog), Policy(keep_s=0, keep_last=1, orphan_age_s=0, expire_only=True))


def test_a_household_goes_from_everywhere_and_everybody_else_stays(
    spark: SparkSession,
    catalog: SqlCatalog,
    connections: Connections,
    models: Models,
    topic: dict[str, str],
    lake: dict[str, Any],
) -> None:
    pseudonyms = Pseudonyms("a key")
    done = erase(connections, catalog, models, pseudonyms, ERASED, topic)

    assert done["rows"] == {NAME: 6, QUARANTINE.identifier: 4, HOUSEHOLDS.identifier: 1}
    assert str(ERASED) not in json.dumps({name: done[name] for name in ("pseudonym", "models", "topics")})
    assert listed_pseudonyms(catalog) == {pseudonyms.household(ERASED)} == {done["pseudonym"]}
    # The ledger still adds up, for what is closed and for what is staged.
    table = catalog.load_table(NAME)
    closed, staged = closed_intervals(table), staged_intervals(table)
    counts = [(each.counts.read, each.counts.accepted, each.counts.quarantined, each.counts.erased) for each in closed]
    assert counts == [(6, 4, 0, 2), (11, 4, 1, 6)]
    assert [(each.counts.accepted, each.counts.erased) for each in staged] == [(4, 2)]
    scan = scan_interval(table, hour(5), STAGING)
    assert scan is not None
    assert ERASED not in scan.to_arrow()["household_id"].to_pylist()
    left = catalog.load_table(QUARANTINE.identifier).scan().to_arrow()["value"].to_pylist()
    assert left == [RAW[3][1]]
    # The model that saw it is flagged; both forget whom they would serve it to.
    assert done["models"] == ["recommender/2"]
    assert FLAG + done["pseudonym"] in models.client.get_model_version("recommender", "2").tags
    assert FLAG + done["pseudonym"] not in models.client.get_model_version("recommender", "1").tags
    assert done["artifacts"] == 2
    # Its snapshot was written anew, and its run names that one.
    snapshots = {each.version: each.snapshots[NAME] for each in models.snapshots()}
    assert snapshots["1"] == lake["before"]
    assert snapshots["2"] not in lake.values()
    assert table.refs()["model.recommender.2"].snapshot_id == snapshots["2"]
    assert sorted(table.scan(snapshot_id=snapshots["2"]).to_arrow()["household_id"].to_pylist()) == [903, 904, 905, 906]

    with pytest.raises(NotErasedError, match=r"is still in \d+ places:\n  s3://lake/warehouse/"):
        prove(connections, catalog, models, pseudonyms, ERASED, topic)
    expire(spark, catalog)
    proof = prove(connections, catalog, models, pseudonyms, ERASED, topic)

    assert proof["searched"]["left"] == {}
    assert proof["searched"]["searched"]["files"] >= 5
    assert proof["searched"]["searched"]["runs"] == 2
    # Another's basket has the same number; manifests keep the smallest id of files that are gone.
    chance = proof["searched"]["chance"]
    assert [place.rpartition("/data/")[0] for place in chance if place.endswith(".parquet")] == [
        "s3://lake/warehouse/sales/transactions_quarantine"
    ]
    assert {place[-8:] for place in chance} == {".parquet", "-m1.avro"}
    assert proof["searched"]["not_understood"] == {}
    # Nobody can take single records out of a topic.
    assert proof["verdict"] == Verdict.FOUND
    assert proof["topics"]["left"] == {f"topic {TOPIC}": 4}
    assert [(each["naming"], each["gone_by"]) for each in proof["topics"]["held"]] == [(4, None)]
    looked_at = {each["name"]: int(each.get("snapshot_id", 0)) for each in proof["datasets"]["inputs"]}
    assert set(looked_at) == set(all_tables(catalog))
    assert looked_at[NAME] == catalog.load_table(NAME).metadata.current_snapshot_id
    told = read_object(report_address(connections, done["pseudonym"]), connections)
    assert told["proof"]["verdict"] == proof["verdict"]
    assert told["topics"] == [
        {
            **{"topic": TOPIC, "there": True, "read": 5, "naming": 4},
            **{"compacted": False, "retention_ms": -1, "gone_by": None},
        }
    ]
    # Everybody else is there as before.
    rows = catalog.load_table(NAME).scan().to_arrow()["household_id"].to_pylist()
    assert sorted(rows) == [903, 903, 904, 904, 905, 905, 906, 906]
    assert catalog.load_table(HOUSEHOLDS.identifier).scan().to_arrow()["household_id"].to_pylist() == [OTHER]
    # What was staged can still be published; a second erasure finds nothing.
    publish_interval(catalog, NAME, hour(5), summary={})
    assert len(files_of(catalog.load_table(NAME), hour(5), "main")) == 1
    again = erase(connections, catalog, models, pseudonyms, ERASED, topic)
    assert sum(again["rows"].values()) == again["artifacts"] == 0
    assert again["models"] == ["recommender/2"]
    assert len(read_object(report_address(connections, done["pseudonym"]), connections)["runs"]) == 2


def test_a_model_without_the_household_serves_the_others_the_same(models: Models, tmp_path: Path) -> None:
    register(models.client, "recommender", {})
    run_id = models.client.get_model_version("recommender", "1").run_id
    (tmp_path / "files").mkdir()
    model([899, ERASED, OTHER]).save(tmp_path / "files")
    models.client.log_artifacts(run_id, str(tmp_path / "files"), "model")
    assert searched(models).left == {f"run {run_id} (recommender/1), model/candidates.npz": 1}
    assert erase_artifacts(models, ERASED) == Artifacts([run_id], {})
    assert searched(models).left == {}
    now = RankerModel.load(Path(models.client.download_artifacts(run_id, "model", str(tmp_path))))
    kept = now.candidates
    assert kept.household_id.tolist() == [899, OTHER]
    assert kept.offsets.tolist() == [0, 2, 4]
    assert kept.product_id.tolist() == [0, 1, 4, 5]
    assert kept.inputs[:, 0].tolist() == [0.0, 1.0, 4.0, 5.0]


def test_a_model_that_nobody_can_read_is_named_and_no_obstacle(models: Models, tmp_path: Path) -> None:
    contents = {
        "demand": {"MLmodel": b"flavors: {sklearn: {}}", "model.bin": bytes(range(128, 256)) * 8},
        "fraud": {"model.json": b'{"kind": "fraud", "format": 1}'},
        "damaged": {"model.json": b'{"kind": "ranker"'},
        "half": {"model.json": b'{"kind": "ranker", "format": 1, "name": "half"}'},
        "listed": {"MLmodel": b"{}", "households.json": b'{"household_id": [899, 900]}'},
    }
    runs = {}
    for name, files in contents.items():
        register(models.client, name, {})
        runs[name] = models.client.get_model_version(name, "1").run_id
        for file, content in files.items():
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / file).write_bytes(content)
        models.client.log_artifacts(runs[name], str(tmp_path / name), "model")
    done = erase_artifacts(models, ERASED)
    assert done.rewritten == []
    why = {name: done.not_read[f"run {run_id} ({name}/1)"] for name, run_id in runs.items()}
    assert why["demand"] == "it has no model.json, but MLmodel, model.bin"
    assert why["fraud"] == "it is of kind 'fraud', known: ranker"
    assert why["damaged"].startswith("its model.json is damaged")
    assert "cannot be read" in why["half"]
    search = searched(models)
    assert search.left == {f"run {runs['listed']} (listed/1), model/households.json": 1}
    assert [*search.unread["bytes of no known kind"]] == [f"run {runs['demand']} (demand/1), model/model.bin"]
    assert Verdict.of(search) == Verdict.FOUND


def searched(models: Models) -> Search:
    search = Search(Eyes(ERASED))
    search_runs(models, search)
    return search


def test_what_was_quarantined_in_any_shape_goes_and_the_proof_finds_none(
    spark: SparkSession, catalog: SqlCatalog, connections: Connections, models: Models, topic: dict[str, str]
) -> None:
    """Those of others stay, though the same digits are in them, and leave the verdict open."""
    shapes = [*((shape, b"x") for shape in ALONE.values()), *((b"5", shape) for shape in NAMED.values())]
    others = [(b"5", shape) for shape in OTHERS.values()]
    raw = [broken(place, hour(1), key, value) for place, (key, value) in enumerate([*shapes, *others])]
    fill(catalog, 1, raw, spec=QUARANTINE)
    fill(catalog, 1, sales(1), record=record(1, 6, len(raw)))
    before = Search(Eyes(ID))
    before.bucket(connections.filesystem(), "lake")
    assert before.left.total() == len(shapes)

    pseudonyms = Pseudonyms("a key")
    assert erase(connections, catalog, models, pseudonyms, ID, topic)["rows"][QUARANTINE.identifier] == len(shapes)
    left = catalog.load_table(QUARANTINE.identifier).scan().to_arrow()["value"].to_pylist()
    assert sorted(left) == sorted(shape for _, shape in others)
    expire(spark, catalog)
    proof = prove(connections, catalog, models, pseudonyms, ID, topic)
    assert proof["searched"]["left"] == {}
    assert proof["verdict"] == Verdict.UNCLEAR
    # All of them but those that only begin or go on so.
    assert sum(proof["searched"]["chance"].values()) == len(others) - 3


def test_the_proof_does_not_take_what_it_cannot_read_for_clean(connections: Connections, catalog: SqlCatalog) -> None:
    files = connections.filesystem()
    contents = {
        "clean.txt": b"nothing here",
        "image.png": b"\x89PNG\r\n",
        "broken.parquet": b"PAR1 and no more",
        "sealed.bin": bytes(range(128, 256)),
        "schema.json": b'{"household_id": 901, "customer": 900}',
        "mine.ndjson": b'{"household_id": 901}\n{"household_id": 900.0}\n',
    }
    for name, content in contents.items():
        with files.open_output_stream(f"lake/search/{name}") as stream:
            stream.write(content)
    verdicts = {}
    for name in contents:
        search = Search(Eyes(ERASED))
        with files.open_input_file(f"lake/search/{name}") as source:
            search.file(name, source)
        verdicts[name] = Verdict.of(search).value
    files.delete_dir("lake/search")
    assert verdicts == {
        "clean.txt": "nothing left",
        "image.png": "not understood",
        "broken.parquet": "not understood",
        "sealed.bin": "not understood",
        "schema.json": "not understood",
        "mine.ndjson": "found",
    }


def test_a_crash_between_events_and_quarantine_is_mended_by_the_next_run(
    catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    from include.jobs.upkeep import erase_tables

    fill(catalog, 1, [broken(9, hour(1), b"900", b"x"), broken(8, hour(1), b"901", b"y")], spec=QUARANTINE)
    fill(catalog, 1, sales(1), record=record(1, 6, 2))
    replaced = erase_tables.replace_interval

    def dies(catalog: SqlCatalog, identifier: str, *arguments: Any, **given: Any) -> int:
        if identifier == QUARANTINE.identifier:
            raise KeyboardInterrupt
        return replaced(catalog, identifier, *arguments, **given)

    monkeypatch.setattr(erase_tables, "replace_interval", dies)
    with pytest.raises(KeyboardInterrupt):
        erase_tables.erase_rows(catalog, ERASED)
    monkeypatch.undo()
    assert erase_tables.erase_rows(catalog, ERASED) == {NAME: 0, QUARANTINE.identifier: 1}
    (closed,) = closed_intervals(catalog.load_table(NAME))
    assert (closed.counts.accepted, closed.counts.quarantined, closed.counts.erased) == (4, 1, 3)


def test_a_value_that_does_not_show_its_household_is_known_by_why_it_is_broken(
    catalog: SqlCatalog, connections: Connections
) -> None:
    """As Avro's do not."""
    from include.jobs.upkeep.erase_tables import erase_rows

    hidden = broken(9, hour(1), b"901", b"\0\0\0\0\1\x06\x88\x0e\x01\x02") | {"detail": "quantity -1; household_id 900"}
    fill(catalog, 1, [hidden, broken(8, hour(1), b"901", b"y")], spec=QUARANTINE)
    fill(catalog, 1, [sale(1, hour(1), OTHER)], record=record(1, 1, 2))
    search = Search(Eyes(ERASED))
    search.bucket(connections.filesystem(), "lake")
    assert search.left.total() == 1
    assert erase_rows(catalog, ERASED) == {NAME: 0, QUARANTINE.identifier: 1}
    assert catalog.load_table(QUARANTINE.identifier).scan().to_arrow()["value"].to_pylist() == [b"y"]


def test_an_interval_that_is_not_what_its_ledger_records_is_named(catalog: SqlCatalog) -> None:
    from include.jobs.upkeep.erase_tables import erase_rows

    fill(catalog, 0, sales(0), record=record(0, 7))
    with pytest.raises(ErasureError, match=r"holds 6 events and 0 quarantined records, the ledger records 7 and 0"):
        erase_rows(catalog, ERASED)


def test_a_tag_names_the_same_content_without_the_household(catalog: SqlCatalog, models: Models) -> None:
    from include.jobs.upkeep.erase_tables import rewrite_tags

    seen = fill(catalog, 0, sales(0))
    fill(catalog, 0, sales(0)[3:])
    register(models.client, "recommender", {NAME: seen})
    protect(catalog, [NAME], models.snapshots())
    current = catalog.load_table(NAME).metadata.current_snapshot_id
    (done,) = rewrite_tags(catalog, ERASED)
    table = catalog.load_table(NAME)
    assert (done.tag, done.before) == ("model.recommender.1", seen)
    assert {name: ref.snapshot_id for name, ref in table.refs().items()} == {
        "main": current,
        "model.recommender.1": done.after,
    }
    assert sorted(table.scan(snapshot_id=done.after).to_arrow()["household_id"].to_pylist()) == [903, 904, 905, 906]
    assert rewrite_tags(catalog, ERASED) == []


def test_the_view_of_the_features_names_the_same_without_the_household(
    spark: SparkSession, catalog: SqlCatalog, connections: Connections, models: Models, topic: dict[str, str]
) -> None:
    seen = fill(catalog, 0, sales(0), record=record(0, 6))
    view = publish_view(catalog, NAME)
    register(models.client, "recommender", {FEATURES_SERVING: view, NAME: seen})
    fill(catalog, 0, sales(0)[1:], record=record(0, 5))
    erase(connections, catalog, models, Pseudonyms("a key"), ERASED, topic)
    expire(spark, catalog)
    now = published_view(catalog)
    rows = catalog.load_table(NAME).scan(snapshot_id=now.snapshots[NAME]).to_arrow()
    assert sorted(rows["household_id"].to_pylist()) == [903, 904, 905, 906]
    assert now.snapshots[NAME] not in (seen, catalog.load_table(NAME).metadata.current_snapshot_id)


def test_a_topic_of_something_else_has_keys_of_its_own(catalog: SqlCatalog) -> None:
    """Only what its records call a household is one."""
    from include.jobs.upkeep.erase_tables import erase_rows

    stock = EventTables.of("stock.levels", [("product_id", LongType(), True)])
    raw = [broken(1, hour(0), b"900", b"no JSON"), broken(2, hour(0), b"7", b'{"household_id": "900"}')]
    fill(catalog, 0, raw, spec=stock.quarantine)
    row = {"interval_start": hour(0), "kafka_partition": 0, "kafka_offset": 0, "event_time": hour(0), "product_id": 900}
    fill(catalog, 0, [row], spec=stock.events, record=record(0, 1, 2))
    assert erase_rows(catalog, ERASED) == {"stock.levels": 0, "stock.levels_quarantine": 1}
    assert catalog.load_table("stock.levels_quarantine").scan().to_arrow()["key"].to_pylist() == [b"900"]


def test_other_tables_of_events_are_erased_too(catalog: SqlCatalog) -> None:
    from include.jobs.upkeep.erase_tables import erase_rows

    views = replace(SALES, identifier="sales.views")
    fill(catalog, 0, sales(0), spec=views, record=record(0, 6))
    assert erase_rows(catalog, ERASED)["sales.views"] == 2
