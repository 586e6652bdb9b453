"""Fetching explicit offset ranges of a topic with Kafka's client: no consumer group, no commit."""

import math
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from include.jobs.lake.errors import JobError

_POLL_TIMEOUT_S = 0.05
#: Messages of a batch: large enough for the check in columns, small enough for memory.
BATCH = 8_192
STALL_S = 60.0
# With `auto.offset.reset` set to `error`, the first is how the client reports the second.
_CUT = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION})


class KafkaUnavailableError(JobError):
    """Kafka does not answer."""


class TopicStalledError(JobError):
    """Records that the topic says it holds do not arrive."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """How far a consumer reads ahead.

    `partition_bytes` is what it fetches of a partition at a time, `queue_kb` what it holds in all, in KiB.
    """

    partition_bytes: int
    queue_kb: int


#: Whole ranges. What is fetched past the end of one is for nothing.
RANGES: Final = Ahead(1_048_576, 4_096)
#: A few hundred records of each of many partitions: more of one would come for nothing.
LOOKS: Final = Ahead(131_072, 16_384)


def consumer(common: Mapping[str, Any], name: str, isolation: str, ahead: Ahead = RANGES) -> Consumer:
    """A consumer of explicit ranges of a topic; `isolation` is `read_committed` or `read_uncommitted`.

    Raises:
        KafkaUnavailableError: no broker answers.
    """
    made = Consumer(
        {
            **common,
            # Required by the client; with explicit assignment and no commits no group is ever joined.
            "group.id": f"podium-ingest-{uuid.uuid4()}",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "isolation.level": isolation,
            # An offset that vanished must be an error, never a silent jump.
            "auto.offset.reset": "error",
            "queued.max.messages.kbytes": ahead.queue_kb,
            "fetch.message.max.bytes": ahead.partition_bytes,
            # A full queue is drained in milliseconds; librdkafka would look again only after a second.
            "fetch.queue.backoff.ms": 2,
            # How long the broker may hold back the answer that a partition has ended.
            "fetch.wait.max.ms": 50,
        }
    )
    try:
        # If it has no leaders yet, the client looks for them a second after it is given partitions.
        made.list_topics(name, STALL_S)
    except KafkaException as error:
        made.close()
        raise _unavailable(name, error) from error
    return made


def fetch(
    source: Consumer,
    name: str,
    starts: Mapping[int, int],
    left: dict[int, int],
    epochs: Mapping[int, int] | None = None,
    cut: dict[int, str] | None = None,
) -> Iterator[list[Any]]:
    """Messages of partitions from their `starts` on, in batches; each partition in its order.

    `left` has the end of each partition that is wanted. One that ends is taken out, and the caller takes out those of
    which it has enough; messages of these, and from past an end, may still be among a batch. All partitions are
    assigned at once: hundreds of them take as long as one.

    `epochs` are the leader epochs in which what lies before the starts was written: the client asks the broker whether
    its log of that epoch goes as far (KIP-320). Of partitions where it does not, `cut` gets the client's words.

    Any: what was delivered has its place in Kafka, which the package's types leave optional.

    Raises:
        TopicStalledError: nothing arrives for a minute.
        KafkaUnavailableError: no broker answers, or it reports an error.
    """
    assigned = set(left)
    if not assigned:
        return
    _assign(source, name, starts, left, epochs or {})
    last_progress = time.monotonic()
    while left:
        messages = source.consume(BATCH, _POLL_TIMEOUT_S)
        if messages:
            last_progress = time.monotonic()
        elif time.monotonic() - last_progress > STALL_S:
            raise TopicStalledError(
                f"topic {name}: no record for {STALL_S:.0f} s while partitions {sorted(left)} should go on to offsets "
                f"{[left[number] for number in sorted(left)]}: check the brokers, and for a transaction that is still "
                "open"
            )
        messages, ended = _apart(name, messages, cut)
        if messages:
            yield messages
        for number, offset in ended:
            # Offsets at the end may be control records or compacted away: none of them is ever delivered.
            if number in left and offset >= left[number]:
                del left[number]
        if done := assigned - left.keys():
            source.incremental_unassign([TopicPartition(name, number) for number in done])
            assigned -= done
    source.unassign()


def _assign(
    source: Consumer, name: str, starts: Mapping[int, int], numbers: Iterable[int], epochs: Mapping[int, int]
) -> None:
    begin = [TopicPartition(name, number, starts[number], leader_epoch=epochs.get(number, -1)) for number in numbers]
    try:
        source.assign(begin)
        # If the client knows the leaders, it asks the broker for an epoch only when it is sent somewhere.
        for partition in begin:
            if partition.partition in epochs:
                source.seek(partition)
    except KafkaException as error:
        raise _unavailable(name, error) from error


def _unavailable(name: str, error: KafkaException) -> KafkaUnavailableError:
    return KafkaUnavailableError(f"topic {name}: {error.args[0].str()}")


def _apart(name: str, messages: list[Any], cut: dict[int, str] | None) -> tuple[list[Any], list[tuple[int, float]]]:
    """The messages proper; and partitions that have ended, each with the offset up to which that holds.

    Any: see `fetch`.
    """
    # By identity: an error that is compared with anything but a number raises.
    if all(error is None for error in map(Message.error, messages)):
        return messages, []
    ended: list[tuple[int, float]] = []
    for message in messages:
        if (error := message.error()) is None:
            continue
        if cut is not None and error.code() in _CUT:
            cut[message.partition()] = error.str()
            ended.append((message.partition(), math.inf))
        elif error.code() == KafkaError._PARTITION_EOF:
            ended.append((message.partition(), message.offset()))
        else:
            raise KafkaUnavailableError(f"topic {name}, partition {message.partition()}: {error.str()}")
    return [message for message in messages if message.error() is None], ended
