import re
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from podium.identity import MAX_NAME, Identity


@dataclass
class Ti:
    dag_id: str = "train"
    run_id: str = "manual__1"
    task_id: str = "fit"
    map_index: int | None = -1
    try_number: int = 1
    max_tries: int = 2


TEXT = st.text(min_size=1, max_size=250)
IDENTITIES = st.builds(Identity, TEXT, TEXT, TEXT, st.integers(-1, 1000), st.integers(0, 50))


@given(IDENTITIES)
def test_name_is_a_dns_label_with_room_for_what_controllers_append(identity: Identity) -> None:
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", identity.name)
    assert len(identity.name) <= MAX_NAME
    assert len(f"{identity.name}-worker-999") <= 63


@given(IDENTITIES)
def test_labels_are_label_values(identity: Identity) -> None:
    assert all(re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", v) for v in identity.labels.values())


@given(IDENTITIES, IDENTITIES)
def test_two_identities_never_share_a_name(one: Identity, other: Identity) -> None:
    assert (one.name == other.name) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Identity("a", "bc", "t"), Identity("ab", "c", "t")),
        (Identity("a.b", "r", "t"), Identity("a-b", "r", "t")),
        (Identity("d", "r", "t", 1), Identity("d", "r", "t", 2)),
        (Identity("d", "r", "t", -1, 0), Identity("d", "r", "t", -1, 1)),
    ],
)
def test_near_misses_differ(one: Identity, other: Identity) -> None:
    assert one.name != other.name


def test_a_retry_finds_what_the_first_attempt_started() -> None:
    first = Identity.of(Ti(try_number=1, max_tries=2), retries=2)
    second = Identity.of(Ti(try_number=2, max_tries=2), retries=2)
    assert first.name == second.name


def test_a_cleared_task_gets_a_new_object_that_is_known_as_the_same_tasks() -> None:
    # Airflow, on clearing a finished task: max_tries = try_number + retries.
    first = Identity.of(Ti(try_number=1, max_tries=2), retries=2)
    cleared = Identity.of(Ti(try_number=2, max_tries=1 + 2), retries=2)
    assert cleared.name != first.name
    assert cleared.task_key == first.task_key
    assert cleared.epoch == 1


def test_name_is_stable_across_processes_and_versions() -> None:
    # A change here would make running work invisible to an upgraded platform.
    assert (
        Identity("ingest_transactions", "manual__1", "ingest").name
        == Identity.of(Ti("ingest_transactions", "manual__1", "ingest"), retries=2).name
    )
    assert Identity("ingest_transactions", "manual__1", "ingest").name == "ingest-transactions-ingest-a96bb0ecd5"


def test_other_epochs_share_the_task_label() -> None:
    identity = Identity("d", "r", "t")
    assert identity.labels["podium.dev/task"] == replace(identity, epoch=7).labels["podium.dev/task"]
    assert identity.labels != replace(identity, epoch=7).labels
