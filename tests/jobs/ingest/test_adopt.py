"""A table goes on from a topic that was moved, made anew, or whose log was cut: by name, and never by itself."""

import contextlib
import datetime as dt
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.ingest.adopt import AdoptionError, adopt_topic
from include.jobs.ingest.fetch import KafkaUnavailableError
from include.jobs.ingest.plan import TopicChangedError
from include.jobs.ingest.topic import Topic
from include.jobs.lake.ledger import Interval, LedgerError
from tests.jobs.ingest.broker import Broker, at, record
from tests.jobs.ingest.sales import EVENTS
from tests.jobs.ingest.test_interval import places, rows, run
from tests.services import ROOT

MakeTopic = Callable[..., str]


def adopt(catalog: SqlCatalog, broker: Broker, topic: str, begin: dt.datetime) -> dict[str, object]:
    with Topic(broker.servers, topic) as opened:
        return adopt_topic(catalog, opened, EVENTS, begin, "moving")


def test_a_topic_that_was_made_anew_goes_on_from_a_moment(
    catalog: SqlCatalog, broker: Broker, topic_name: MakeTopic
) -> None:
    topic = topic_name(1)
    broker.send(topic, [(0, hour, record(hour, hour)) for hour in range(15)])
    run(catalog, broker, topic, 0)
    broker.delete(topic)
    broker.create(topic, 1)
    broker.send(topic, [(0, hour, record(hour, hour)) for hour in range(8, 45)])
    with pytest.raises(TopicChangedError, match=r"(?s)offsets of one say nothing of the other.*adopt-topic"):
        run(catalog, broker, topic, 2)
    with pytest.raises(AdoptionError, match="adopt the topic from 2017-01-01T10:00:00Z on, or later"):
        adopt(catalog, broker, topic, at(5))

    before = rows(catalog)
    done = adopt(catalog, broker, topic, at(20))
    assert (done["topic"], done["from"], done["starts"]) == (topic, "2017-01-01T20:00:00Z", {})
    with pytest.raises(LedgerError, match="lies on both sides of 2017-01-01T20:00:00Z"):
        run(catalog, broker, topic, 0, bounds=Interval(at(15), at(25)))
    assert [run(catalog, broker, topic, number)["ranges"] for number in (3, 2)] == [{"0": [22, 32]}, {"0": [12, 22]}]
    assert run(catalog, broker, topic, 2)["read"] == 10, "again, like any other"
    assert [row for row in rows(catalog) if row["interval_start"] == at(0)] == before
    assert sorted(row["event_time"] for row in rows(catalog)) == [at(hour) for hour in (*range(10), *range(20, 40))]
    for number in (0, 1):
        with pytest.raises(TopicChangedError, match="belongs to topic"):
            run(catalog, broker, topic, number)
    with pytest.raises(AdoptionError, match="nothing is to be adopted"):
        adopt(catalog, broker, topic, at(40))


@pytest.fixture
def cuttable(tmp_path: Path) -> Iterator["Cuttable"]:
    """A broker of its own, whose log can be cut."""
    found = Cuttable(tmp_path)
    with contextlib.closing(found):
        found.start()
        yield found


class Cuttable:
    """A second broker from the platform's jars (`tests.jobs.ingest.single`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with contextlib.ExitStack() as held:
            sockets = [held.enter_context(socket.socket()) for _ in range(2)]
            for one in sockets:
                one.bind(("127.0.0.1", 0))
            self.ports = [str(one.getsockname()[1]) for one in sockets]
        self.broker = Broker(f"127.0.0.1:{self.ports[0]}")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        python = os.environ.get("PODIUM_STACK_PYTHON", sys.executable)
        command = [python, "-m", "tests.jobs.ingest.single", str(self.folder), *self.ports]
        with (self.folder / "broker.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 180
        while True:
            with contextlib.suppress(KafkaException):
                self.broker.admin.list_topics(timeout=5)
                return
            assert self.process.poll() is None, (self.folder / "broker.log").read_text()[-3000:]
            assert time.monotonic() < deadline

    def close(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(120)

    def cut(self, topic: str, offset: int) -> None:
        """What an unclean election leaves of partition 0: its log up to the batch that begins with an offset."""
        self.close()
        (segment,) = (self.folder / "data" / f"{topic}-0").glob("*.log")
        content, place = segment.read_bytes(), 0
        while struct.unpack_from(">q", content, place)[0] < offset:
            place += 12 + struct.unpack_from(">i", content, place + 8)[0]
        segment.write_bytes(content[:place])
        for pattern in ("*.index", "*.timeindex", "*.snapshot"):
            for file in segment.parent.glob(pattern):
                file.unlink()
        (self.folder / "data" / ".kafka_cleanshutdown").unlink(missing_ok=True)
        self.start()
        deadline = time.monotonic() + 120
        while True:
            # For a moment the cluster knows of a newer leadership than the broker does.
            with contextlib.suppress(KafkaUnavailableError), Topic(self.broker.servers, topic) as opened:
                opened.view()
                return
            assert time.monotonic() < deadline


def test_a_log_that_was_cut_and_has_grown_again_is_refused_and_gone_on_with_by_name(
    catalog: SqlCatalog, cuttable: Cuttable
) -> None:
    broker, topic = cuttable.broker, "events"
    broker.create(topic, 1)
    broker.send(topic, [(0, number / 10, record(number / 10, number)) for number in range(90)])
    broker.send(topic, [(0, number / 10, record(number / 10, number)) for number in range(90, 100)])
    assert run(catalog, broker, topic, 0)["read"] == 100
    cuttable.cut(topic, 90)
    for number in (0, 1):
        with pytest.raises(TopicChangedError, match="it was cut at offset 90"):
            run(catalog, broker, topic, number)
    broker.send(topic, [(0, 10 + number / 10, record(11, 200 + number)) for number in range(30)])
    for number in (0, 1):
        with pytest.raises(
            TopicChangedError,
            match=r"it was cut at offset 90\. Offsets 90 to 100 of now belong to no .*adopt-topic",
        ):
            run(catalog, broker, topic, number)
    assert adopt(catalog, broker, topic, at(10))["starts"] == {"0": 90}
    assert run(catalog, broker, topic, 1)["ranges"] == {"0": [90, 120]}
    assert len(places(catalog)) == 130
