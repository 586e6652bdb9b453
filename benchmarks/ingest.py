"""Kafka to a staged Iceberg interval, against bare consumers that throw the same records away.

Intervals of 1, 5 and 20 million events show that speed and memory do not depend on the size; as many processes share
one as the settings say. Their events are the year's, repeated, in a topic and tables of the benchmark's own.
"""

import datetime as dt
import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psutil
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks import sinks
from include.demo.cluster import Cluster
from include.stack.job import run_job
from include.stack.service import Platform
from include.stack.services import kafka

#: The year's events, without the broken records that a demonstration adds.
SOURCE = "bench.events"
TOPIC = "bench.transactions"
CONTRACT = "transactions.v1"
POD = "bench-ingest"
MILLION = 1_000_000
#: Millions of events.
SIZES = (1, 5, 20)
#: Rounds by size: the smallest one is over in seconds, so that its median is taken.
ROUNDS = {1: 3}
#: How often the memory of the pod's processes is looked at.
SAMPLE_S = 0.2
BEGIN = dt.datetime(2017, 1, 1, tzinfo=dt.UTC)
HOUR_MS = 3_600_000
#: Repeated: as many events of the source.
DISTINCT = 500_000
#: How the ingest sets librdkafka; by default it looks at a full queue only once a second.
TUNED: dict[str, str | int | float | bool] = {
    "queued.max.messages.kbytes": 4_096,
    "fetch.message.max.bytes": 1_048_576,
    "fetch.queue.backoff.ms": 2,
}


def bare_consumer(
    platform: Platform, ranges: dict[str, list[int]], tuned: dict[str, str | int | float | bool]
) -> float:
    """Records a second of a loop that reads the same offsets and keeps nothing."""
    consumer = _consumer(platform, tuned)
    left = {int(number): (start, end) for number, (start, end) in ranges.items() if end > start}
    began, read = time.monotonic(), 0
    consumer.assign([TopicPartition(TOPIC, number, start) for number, (start, _) in left.items()])
    while left:
        for message in consumer.consume(10_000, timeout=1.0):
            number, offset = message.partition() or 0, message.offset() or 0
            if number not in left:
                continue
            read += offset < left[number][1]
            if offset + 1 >= left[number][1]:
                del left[number]
    seconds = time.monotonic() - began
    consumer.close()
    return read / seconds


def measure(platform: Platform, cluster: Cluster, sizes: Sequence[int] = SIZES) -> dict[str, float]:
    """Median records a second of the ingest and of bare consumers over one interval, in turn, and their ratios.

    The topic `SOURCE` must hold the year's events. `ratio` is to a consumer with librdkafka's defaults,
    `ratio_same_settings` to one that is set as the ingest's is; `times_provider_operator` to what Airflow's provider
    has for the same purpose, told to check and write the same. Memory is that of all processes of
    the pod: `peak_memory_mb` the sum of what each resided in at its peak, `peak_pss_mb` the largest sum at one moment
    with what they share counted once.

    :param sizes: of the intervals, in millions of events.
    """
    admin = AdminClient(kafka.client(platform))
    figures: dict[str, float] = {}
    try:
        _fill(platform, admin, sizes)
        provider = sinks.provider_operator(TOPIC, sizes[0] * MILLION, CONTRACT)
        for hour, size in enumerate(sizes):
            figures |= {f"{name}_{size}m": value for name, value in _one(platform, cluster, hour, size)}
        figures["provider_operator_rows_per_s"] = provider
        for size in sizes:
            figures[f"times_provider_operator_{size}m"] = figures[f"rows_per_s_{size}m"] / provider
    finally:
        cluster.delete(POD)
        admin.delete_topics([TOPIC])[TOPIC].result()
        drop_tables(platform, TOPIC)
    return figures


def drop_tables(platform: Platform, *names: str) -> None:
    """Remove tables of events with their quarantine and every file of them.

    :raises RuntimeError: they cannot be removed.
    """
    if run_job(platform, "ingest", ["-m", "benchmarks.tables", *names]):
        raise RuntimeError(f"the benchmark's tables {', '.join(names)} cannot be removed")


def _one(platform: Platform, cluster: Cluster, hour: int, size: int) -> Iterator[tuple[str, float]]:
    results, bare, tuned, memory = [], [], [], []
    processes = platform.settings.ingest.transactions.processes
    arguments = ["interval", "--topic", TOPIC, *_arguments(hour), "--processes", str(processes)]
    for _ in range(ROUNDS.get(size, 1)):
        cluster.start(POD, "ingest", arguments)
        with _peak_pss() as peak:
            results.append(cluster.result(POD))
        memory.append(max(peak))
        bare.append(bare_consumer(platform, results[-1]["ranges"], {}))
        tuned.append(bare_consumer(platform, results[-1]["ranges"], TUNED))
    if any(result["read"] != size * MILLION for result in results):
        raise RuntimeError(
            f"{TOPIC} should have {size} million events in its hour {hour}, the ingest read {results[0]['read']}"
        )
    speed = _median([result["rows_per_s"] for result in results])
    yield "rows_per_s", speed
    yield "with_start_rows_per_s", size * MILLION / _median([result["process_seconds"] for result in results])
    yield "peak_memory_mb", max(result["peak_memory_mb"] for result in results)
    yield "peak_pss_mb", max(memory)
    yield "processes", processes
    yield "ratio", speed / _median(bare)
    yield "ratio_same_settings", speed / _median(tuned)
    yield "consumer_rows_per_s", _median(bare)
    yield "consumer_same_settings_rows_per_s", _median(tuned)


@contextmanager
def _peak_pss() -> Iterator[list[float]]:
    """Megabytes of proportional set size, moment by moment, of the processes that ingest the topic together."""
    found, ended = [0.0], threading.Event()

    def look() -> None:
        while not ended.wait(SAMPLE_S):
            found.append(sum(_pss(process) for process in psutil.process_iter()) / 2**20)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def _pss(process: psutil.Process) -> int:
    try:
        ours = {"include.jobs.ingest", "interval", TOPIC} <= set(process.cmdline()) and "shim" not in process.name()
        return int(process.memory_full_info().pss) if ours else 0
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


def _arguments(hour: int) -> list[str]:
    start, end = (BEGIN + dt.timedelta(hours=number) for number in (hour, hour + 1))
    return ["--table", TOPIC, "--contract", CONTRACT, "--start", start.isoformat(), "--end", end.isoformat()]


def _median(values: list[float]) -> float:
    return float(sorted(values)[len(values) // 2])


def _fill(platform: Platform, admin: AdminClient, sizes: Sequence[int]) -> None:
    """Produce each size into an hour of its own."""
    try:
        admin.create_topics(
            [NewTopic(TOPIC, platform.settings.ingest.transactions.partitions, 1, config={"retention.ms": "-1"})]
        )[TOPIC].result()
    except KafkaException as error:
        raise RuntimeError(
            f"topic {TOPIC} cannot be made; delete what an earlier benchmark has left: {error}"
        ) from error
    producer = Producer(
        {
            **kafka.client(platform),
            "compression.type": "lz4",
            "linger.ms": 50,
            "batch.num.messages": 10_000,
            "queue.buffering.max.messages": 200_000,
        }
    )
    partitions = platform.settings.ingest.transactions.partitions
    events = _distinct(list(itertools.islice(_events(platform), DISTINCT)))
    for hour, size in enumerate(size * MILLION for size in sizes):
        begin = int(BEGIN.timestamp() * 1000) + hour * HOUR_MS
        for number, (key, value) in enumerate(itertools.islice(events, size)):
            partition, moment = number % partitions, begin + number * (HOUR_MS - 1) // size
            while True:
                try:
                    producer.produce(TOPIC, value, key, partition, timestamp=moment)
                    break
                except BufferError:
                    producer.poll(0.05)
    if producer.flush(120):
        raise RuntimeError(f"topic {TOPIC} did not take all events: look at the broker's log")


def _distinct(events: list[tuple[bytes | None, bytes | None]]) -> Iterator[tuple[bytes | None, bytes | None]]:
    """Events again and again, each time with other ids: the same one twice would be a duplicate."""
    for turn in itertools.count(100):
        mark = b'"event_id":"%d-' % turn
        yield from ((key, value and value.replace(b'"event_id":"', mark, 1)) for key, value in events)


def _events(platform: Platform) -> Iterator[tuple[bytes | None, bytes | None]]:
    consumer = _consumer(platform, TUNED)
    partitions = range(platform.settings.ingest.transactions.partitions)
    consumer.assign([TopicPartition(SOURCE, number, 0) for number in partitions])
    while messages := consumer.consume(10_000, timeout=5.0):
        for message in messages:
            yield message.key(), message.value()
    consumer.close()


def _consumer(platform: Platform, tuned: dict[str, str | int | float | bool]) -> Consumer:
    return Consumer(
        {
            **kafka.client(platform),
            "group.id": "podium-bench",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            **tuned,
        }
    )
