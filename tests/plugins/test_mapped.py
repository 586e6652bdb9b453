"""Mapped tasks take the slots of their GPU pool."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import DAG, XComArg
from podium.errors import MappedSlotsError, UnknownNodePoolError
from podium.operators.katib import KatibExperimentOperator, Objective, Range
from podium.operators.mpi import MPIJobOperator
from podium.operators.pod import PodiumPodOperator
from podium.operators.train_job import TrainJobOperator

POOL = "gpu-a100"
POD = {"image": "ingest", "node_pool": POOL, "gpus": 4}
MPI = {"image": "recommender", "node_pool": POOL, "workers": 2, "gpus_per_worker": 2}
TRAIN = {"runtime": "torch", "image": "recommender", "node_pool": POOL, "nodes": 4}
KATIB = {
    "image": "recommender",
    "node_pool": POOL,
    "gpus": 2,
    "parallel_trials": 2,
    "parameters": [Range(name="lr", min=0.1, max=0.2)],
    "objective": Objective(metric="loss"),
    "max_trials": 4,
}
EACH = pytest.mark.parametrize(
    ("operator", "arguments", "mapped"),
    [
        (PodiumPodOperator, POD, "arguments"),
        (MPIJobOperator, MPI, "command"),
        (TrainJobOperator, TRAIN, "command"),
        (KatibExperimentOperator, KATIB, "command"),
    ],
    ids=["pod", "mpi", "train", "katib"],
)
COMMANDS = [["a"], ["b"], ["c"], ["d"]]


@pytest.fixture
def dag() -> Any:
    with DAG("maps", start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), schedule=None) as made:
        yield made


def instance_of(mapped: Any, **over: Any) -> Any:
    """The operator as its task has it."""
    return mapped.unmap(over)


@EACH
def test_pool_and_slots_are_those_of_the_gpus(dag: DAG, operator: Any, arguments: dict[str, Any], mapped: str) -> None:
    made = operator.partial(task_id="fit", **arguments).expand(**{mapped: COMMANDS})
    assert (made.pool, made.pool_slots) == (POOL, 4)
    own = instance_of(made, **{mapped: COMMANDS[0]})
    assert (own.pool, own.pool_slots) == (POOL, 4)


@EACH
def test_what_decides_on_the_slots_is_not_mapped(
    dag: DAG, operator: Any, arguments: dict[str, Any], mapped: str
) -> None:
    for name in ("node_pool", *operator.gpu_arguments):
        rest = {key: value for key, value in arguments.items() if key != name} | {mapped: COMMANDS[0]}
        for expand in (
            lambda partial, name=name: partial.expand(**{name: [1, 2]}),
            lambda partial, name=name: partial.expand_kwargs([{name: 1}, {name: 2}]),
        ):
            with pytest.raises(MappedSlotsError, match=rf"cannot be mapped over {name}.*Give them to `partial`"):
                expand(operator.partial(task_id="fit", **rest))


def test_what_is_mapped_over_another_tasks_result_is_refused_in_the_task(dag: DAG) -> None:
    before = PodiumPodOperator(task_id="plan", image="ingest")
    partial = PodiumPodOperator.partial(task_id="fit", image="ingest", node_pool=POOL)
    made = partial.expand_kwargs(XComArg(before))
    with pytest.raises(MappedSlotsError):
        instance_of(made, gpus=4)
    assert instance_of(made, cpu="1").pool_slots == 1


def test_without_gpus_there_is_no_pool_to_wait_for(dag: DAG) -> None:
    made = PodiumPodOperator.partial(task_id="work", image="ingest").expand(arguments=COMMANDS)
    assert (made.pool, made.pool_slots) == ("default_pool", 1)


def test_default_arguments_count_and_what_is_named_wins(dag: DAG) -> None:
    dag.default_args.update({"node_pool": POOL, "gpus": 2})
    inherits = PodiumPodOperator.partial(task_id="one", image="ingest").expand(arguments=COMMANDS)
    assert (inherits.pool, inherits.pool_slots) == (POOL, 2)
    named = PodiumPodOperator.partial(task_id="two", image="ingest", pool="mine", pool_slots=1)
    assert named.expand(arguments=COMMANDS).pool == "mine"


def test_an_unknown_node_pool_fails_the_parse(dag: DAG) -> None:
    with pytest.raises(UnknownNodePoolError):
        PodiumPodOperator.partial(task_id="work", image="ingest", node_pool="nowhere", gpus=1)


def test_children_take_slots_as_their_base_does(dag: DAG) -> None:
    class Child(PodiumPodOperator):
        def __init__(self, *, gpus: int = 2, **kwargs: Any) -> None:
            super().__init__(image="ingest", gpus=gpus, node_pool=POOL, **kwargs)

    made: Callable[..., Any] = Child.partial(task_id="work", node_pool=POOL).expand
    assert made(arguments=COMMANDS).pool_slots == 2
