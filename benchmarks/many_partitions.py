"""Makes a topic of many partitions from which retention has taken records, and measures what is looked at in it.

`python -m benchmarks.many_partitions RESULT TOPIC PARTITIONS`, in the ingest's environment, with the variables and
credentials that a pod finds. The interval is one in the middle that goes on where another ended, as all but the first
do: Kafka is asked what it has, and timestamps are read until it is sure where the interval ends in each partition.
"""

import datetime as dt
import json
import sys
import time
from pathlib import Path
from statistics import median

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from include.jobs.ingest.plan import plan
from include.jobs.ingest.sources import Sources
from include.jobs.ingest.topic import Topic
from include.jobs.lake.connections import kafka_bootstrap_servers, kafka_client, kafka_security
from include.jobs.lake.ledger import Counts, Interval, IntervalRecord, Ledger, OffsetRange

BEGIN = dt.datetime(2017, 1, 1, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
ROUNDS = 5
#: Records of each partition, as many in each hour of a day; of every tenth partition retention has taken some.
RECORDS, HOURS, TAKEN = 2_400, 24, 50
MIDDLE = HOURS // 2
VALUE = b"x" * 300
IN_FLIGHT = 50_000


def main() -> None:
    """Make, measure, and write the result."""
    result, topic, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    admin = AdminClient(kafka_client())
    admin.create_topics([NewTopic(topic, count, 1, config={"retention.ms": "-1"})])[topic].result()
    try:
        _produce(topic, count)
        gone = [TopicPartition(topic, number, TAKEN) for number in range(0, count, 10)]
        for future in admin.delete_records(gone).values():
            future.result()
        seconds = [_look(topic, count) for _ in range(ROUNDS)]
    finally:
        admin.delete_topics([topic])[topic].result()
    Path(result).write_text(json.dumps({"look_s": median(seconds)}), encoding="utf-8")


def _look(topic: str, count: int) -> float:
    """Seconds of a look by a client that is new, as each task's is."""
    began = time.monotonic()
    with Topic(kafka_bootstrap_servers(), topic, kafka_security()) as opened:
        begin, each = BEGIN + MIDDLE * HOUR, RECORDS // HOURS
        spans = dict.fromkeys(range(count), OffsetRange((MIDDLE - 1) * each, MIDDLE * each))
        before = IntervalRecord(
            Interval(begin - HOUR, begin), topic, opened.view().topic_id, spans, Counts(0, 0, 0), "bench", BEGIN
        )
        ledger, now = Ledger({before.interval: before}), dt.datetime.now(dt.UTC)
        found = plan(Interval(begin, begin + HOUR), ledger, Sources.from_properties({}), opened, now, HOUR)
    if set(found.ranges.values()) != {OffsetRange(MIDDLE * each, (MIDDLE + 1) * each)}:
        raise RuntimeError(f"an interval should have {each} records of each partition: {found.ranges}")
    return time.monotonic() - began


def _produce(topic: str, count: int) -> None:
    producer = Producer({**kafka_client(), "linger.ms": 50})
    for place in range(RECORDS):
        moment = int((BEGIN + place * HOURS * HOUR / RECORDS).timestamp() * 1000)
        for number in range(count):
            producer.produce(topic, VALUE, b"1", number, timestamp=moment)
        while len(producer) > IN_FLIGHT:
            producer.poll(0.01)
    if producer.flush(60):
        raise RuntimeError(f"topic {topic} did not take all events: look at the broker's log")


if __name__ == "__main__":
    main()
