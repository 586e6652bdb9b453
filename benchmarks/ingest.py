"""Kafka to a staged Iceberg interval, against bare consumers that throw the same records away.

Intervals of 1, 5 and 20 million events show that speed and memory do not depend on the size. Their events are the
year's, repeated, in a topic and tables of the benchmark's own, which are removed at the end.
"""

import datetime as dt
import itertools
import time
from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from include.config import Settings
from include.demo.cluster import Cluster

TOPIC = "bench.transactions"
SIZES = (1_000_000, 5_000_000, 20_000_000)
#: Rounds by size: the smallest one is over in seconds, so that its median is taken.
ROUNDS = {SIZES[0]: 3}
BEGIN = dt.datetime(2017, 1, 1, tzinfo=dt.UTC)
HOUR_MS = 3_600_000
#: Repeated: as many events of the shop's topic.
DISTINCT = 500_000
#: How the ingest sets librdkafka; by default it looks at a full queue only once a second.
TUNED: dict[str, str | int | float | bool] = {
    "queued.max.messages.kbytes": 16_384,
    "fetch.message.max.bytes": 1_048_576,
    "fetch.queue.backoff.ms": 2,
}


def bare_consumer(
    settings: Settings, ranges: dict[str, list[int]], tuned: dict[str, str | int | float | bool]
) -> float:
    """Records a second of a loop that reads the same offsets and keeps nothing."""
    consumer = _consumer(settings, tuned)
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


def measure(settings: Settings, cluster: Cluster) -> dict[str, float]:
    """Median records a second of the ingest and of bare consumers over one interval, in turn, and their ratios.

    The shop's topic must hold the year's events. `ratio` is to a consumer with librdkafka's defaults,
    `ratio_same_settings` to one that is set as the ingest's is.
    """
    admin = AdminClient({"bootstrap.servers": settings.reach.kafka_bootstrap_servers})
    figures: dict[str, float] = {}
    try:
        _fill(settings, admin)
        for hour, size in enumerate(SIZES):
            figures |= {f"{name}_{size // 1_000_000}m": value for name, value in _one(settings, cluster, hour, size)}
    finally:
        for hour in range(len(SIZES)):
            cluster.start("bench-ingest", "ingest", ["discard", *_arguments(hour)])
            cluster.end("bench-ingest")
        cluster.delete("bench-ingest")
        admin.delete_topics([TOPIC])[TOPIC].result()
    return figures


def _one(settings: Settings, cluster: Cluster, hour: int, size: int) -> Iterator[tuple[str, float]]:
    results, bare, tuned = [], [], []
    for _ in range(ROUNDS.get(size, 1)):
        cluster.start("bench-ingest", "ingest", ["interval", "--topic", TOPIC, *_arguments(hour)])
        results.append(cluster.result("bench-ingest"))
        bare.append(bare_consumer(settings, results[-1]["ranges"], {}))
        tuned.append(bare_consumer(settings, results[-1]["ranges"], TUNED))
    if any(result["read"] != size for result in results):
        raise RuntimeError(
            f"{TOPIC} should have {size} events in its hour {hour}, the ingest read {results[0]['read']}"
        )
    speed = _median([result["rows_per_s"] for result in results])
    yield "rows_per_s", speed
    yield "with_start_rows_per_s", size / _median([result["process_seconds"] for result in results])
    yield "peak_memory_mb", max(result["peak_memory_mb"] for result in results)
    yield "ratio", speed / _median(bare)
    yield "ratio_same_settings", speed / _median(tuned)
    yield "consumer_rows_per_s", _median(bare)
    yield "consumer_same_settings_rows_per_s", _median(tuned)


def _arguments(hour: int) -> list[str]:
    start, end = (BEGIN + dt.timedelta(hours=number) for number in (hour, hour + 1))
    return ["--table", TOPIC, "--contract", "transactions.v1", "--start", start.isoformat(), "--end", end.isoformat()]


def _median(values: list[float]) -> float:
    return float(sorted(values)[len(values) // 2])


def _fill(settings: Settings, admin: AdminClient) -> None:
    """Produce each size into an hour of its own."""
    try:
        admin.create_topics(
            [NewTopic(TOPIC, settings.ingest.transactions.partitions, 1, config={"retention.ms": "-1"})]
        )[TOPIC].result()
    except KafkaException as error:
        raise RuntimeError(
            f"topic {TOPIC} cannot be made; delete what an earlier benchmark has left: {error}"
        ) from error
    producer = Producer(
        {
            "bootstrap.servers": settings.reach.kafka_bootstrap_servers,
            "compression.type": "lz4",
            "linger.ms": 50,
            "batch.num.messages": 10_000,
            "queue.buffering.max.messages": 200_000,
        }
    )
    events = itertools.cycle(list(itertools.islice(_events(settings), DISTINCT)))
    for hour, size in enumerate(SIZES):
        begin = int(BEGIN.timestamp() * 1000) + hour * HOUR_MS
        for number, (key, value) in enumerate(itertools.islice(events, size)):
            partition, moment = number % settings.ingest.transactions.partitions, begin + number * (HOUR_MS - 1) // size
            while True:
                try:
                    producer.produce(TOPIC, value, key, partition, timestamp=moment)
                    break
                except BufferError:
                    producer.poll(0.05)
    if producer.flush(120):
        raise RuntimeError(f"topic {TOPIC} did not take all events: look at the broker's log")


def _events(settings: Settings) -> Iterator[tuple[bytes | None, bytes | None]]:
    consumer = _consumer(settings, TUNED)
    topic = settings.ingest.transactions.topic
    consumer.assign([TopicPartition(topic, number, 0) for number in range(settings.ingest.transactions.partitions)])
    while messages := consumer.consume(10_000, timeout=5.0):
        for message in messages:
            yield message.key(), message.value()
    consumer.close()


def _consumer(settings: Settings, tuned: dict[str, str | int | float | bool]) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": settings.reach.kafka_bootstrap_servers,
            "group.id": "podium-bench",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            **tuned,
        }
    )
