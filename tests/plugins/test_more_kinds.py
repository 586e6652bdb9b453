"""TrainJob, Experiment and Workflow: from the operator through the cluster to the result."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from podium.custom_resource_run import Cleanup
from podium.errors import NodePoolTooSmallError, PodiumError, WorkFailedError
from podium.experiments import Choice, Objective, Range
from podium.identity import Identity
from podium.kinds import EXPERIMENT, TRAIN_JOB, WORKFLOW, Kind, Phase
from pydantic import ValidationError

from tests.plugins.cluster import Platform, wait_for
from tests.plugins.harness import Ti, begin, call, collected_beside, finish, fire
from tests.plugins.kinds_controller import Template, controllers
from tests.plugins.test_custom_resources import call_kill, objects

Make = Callable[..., Any]

TRAIN = """
import json, os, sys, time
rank, does = os.environ["JOB_COMPLETION_INDEX"], sys.argv[1]
print(f"rank {rank} {does}s", flush=True)
if does == "fail": sys.exit("ValueError: no rows")
if does == "wait": time.sleep(600)
print("PODIUM_RESULT", json.dumps({"rank": rank}))
"""
TRIAL = """
import sys, time
does, lr = sys.argv[1:]
if does == "fail": sys.exit("ValueError: no rows")
if does == "wait": time.sleep(600)
print(f"trial with {lr}")
print(f"recall={1 - abs(float(lr) - 0.1)}")
"""

# Prints its parameter and gives it out again; fails when told so.
ECHO = Template(
    command=lambda arguments: [
        *("python", "-c", "import sys; say = sys.argv[1]; print(say); raise SystemExit(say == 'fail')"),
        arguments["say"],
    ],
    output="said",
    line="^(.*)$",
)


def train(does: str, **arguments: Any) -> Any:
    from podium.operators.train_job import TrainJobOperator

    return TrainJobOperator(
        task_id="work",
        runtime="torch-distributed",
        image="recommender",
        command=["python", "-c", TRAIN, does],
        node_pool="gpu-a100",
        cpu="1",
        memory="512Mi",
        retries=1,
        **({"nodes": 2} | arguments),
    )


def search(does: str, **arguments: Any) -> Any:
    from podium.operators.katib import KatibExperimentOperator

    return KatibExperimentOperator(
        task_id="work",
        image="recommender",
        command=["python", "-c", TRIAL, does, "${trialParameters.lr}"],
        parameters=[Choice(name="lr", values=("0.5", "0.1", "0.01"))],
        objective=Objective(metric="recall"),
        max_trials=3,
        node_pool="gpu-a100",
        memory="512Mi",
        gpus=1,
        retries=1,
        **arguments,
    )


def workflow(does: str, **arguments: Any) -> Any:
    from podium.operators.argo import ArgoWorkflowOperator

    return ArgoWorkflowOperator(task_id="work", template="echo", parameters={"say": does}, retries=1, **arguments)


ALL = pytest.mark.parametrize(
    ("make", "kind", "result", "said"),
    [
        (train, TRAIN_JOB, {"rank": "0"}, "rank 0 goods"),
        (
            search,
            EXPERIMENT,
            {"trial": "{name}-trial-1", "parameters": {"lr": "0.1"}, "metrics": {"recall": "1.0"}},
            "trial with 0.1",
        ),
        (workflow, WORKFLOW, {"said": "good"}, "good"),
    ],
    ids=["train", "katib", "argo"],
)


@pytest.fixture(scope="module", autouse=True)
def controlled(platform: Platform) -> Iterator[None]:
    with controllers(platform, {"echo": ECHO}):
        yield


@ALL
@pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "sync"])
def test_the_result_and_the_log_come_back(
    platform: Platform,
    name: str,
    capsys: pytest.CaptureFixture[str],
    make: Make,
    kind: Kind,
    result: dict[str, Any],
    said: str,
    deferrable: bool,
) -> None:
    ti = Ti("work", run_id=name)
    deferred = begin(lambda: make("good", deferrable=deferrable), ti)
    assert isinstance(deferred, TaskDeferred) is deferrable
    found = finish(lambda: make("good", deferrable=deferrable), ti, deferred)
    job = Identity.of(ti, 1).name
    assert found == result | ({"trial": f"{job}-trial-1"} if make is search else {})
    assert said in capsys.readouterr().out
    assert kind.judge(objects(platform, kind)[job]).phase is Phase.SUCCEEDED


@ALL
def test_the_result_is_kept_when_another_attempt_takes_the_object_away_while_it_is_collected(
    platform: Platform,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    make: Make,
    kind: Kind,
    result: dict[str, Any],
    said: str,
) -> None:
    _, found, first = collected_beside(
        monkeypatch, lambda: make("good", cleanup=Cleanup.DELETE_ON_SUCCESS), Ti("work", run_id=name)
    )
    assert found == first
    assert found.keys() == result.keys()


@ALL
def test_an_object_that_somebody_deletes_before_its_result_is_read_is_a_failure(
    platform: Platform, name: str, make: Make, kind: Kind, result: object, said: str
) -> None:
    ti = Ti("work", run_id=name)
    deferred = begin(lambda: make("good"), ti)
    event = fire(deferred)
    path = f"/apis/{kind.api_version}/namespaces/podium/{kind.plural}/{Identity.of(ti, 1).name}"
    platform.call("DELETE", path)
    wait_for(lambda: not any(pod.startswith(Identity.of(ti, 1).name) for pod in platform.pods()), "its pods to go")
    with pytest.raises(PodiumError, match=Identity.of(ti, 1).name):
        call(make("good"), deferred.method_name, ti, event=event)


@ALL
def test_a_failure_has_a_reason_an_exit_code_and_the_last_lines(
    platform: Platform, name: str, make: Make, kind: Kind, result: object, said: str
) -> None:
    ti = Ti("work", run_id=name)
    with pytest.raises(WorkFailedError) as failure:
        finish(lambda: make("fail"), ti, begin(lambda: make("fail"), ti))
    text = str(failure.value)
    assert text.startswith("work failed: ")
    assert text.splitlines()[1].startswith(f"{kind.name} podium/{Identity.of(ti, 1).name} is failed (")
    assert "exit code 1" in text
    assert "no rows" in text or make is workflow


@pytest.mark.parametrize(("make", "kind"), [(train, TRAIN_JOB), (search, EXPERIMENT)], ids=["train", "katib"])
def test_a_second_attempt_adopts_and_a_kill_takes_all_along(
    platform: Platform, name: str, make: Make, kind: Kind
) -> None:
    ti = Ti("work", run_id=name)
    assert isinstance(begin(lambda: make("wait"), ti), TaskDeferred)
    job = Identity.of(ti, 1).name
    uid = objects(platform, kind)[job]["metadata"]["uid"]
    again = begin(lambda: make("wait"), ti.retried())
    assert isinstance(again, TaskDeferred)
    assert objects(platform, kind)[job]["metadata"]["uid"] == uid
    wait_for(lambda: kind.judge(objects(platform, kind)[job]).phase is Phase.RUNNING, "it to run")
    call_kill(again)
    wait_for(
        lambda: job not in objects(platform, kind) and not any(pod.startswith(job) for pod in platform.pods()),
        "all of it to go",
    )


def test_pods_run_in_their_pool_restricted_and_together(platform: Platform, name: str) -> None:
    ti = Ti("work", run_id=name)
    finish(lambda: train("good"), ti, begin(lambda: train("good"), ti))
    job = Identity.of(ti, 1).name
    pods = [pod for pod_name, pod in platform.pods().items() if pod_name.startswith(f"{job}-node")]
    assert len(pods) == 2
    for pod in pods:
        assert pod["spec"]["nodeSelector"]["podium.dev/pool"] == "gpu-a100"
        assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] is False
        assert pod["spec"]["affinity"]["podAffinity"]
    made = train("good")
    assert (made.pool, made.pool_slots) == ("gpu-a100", 2)


def test_what_can_never_fit_fails_the_parse() -> None:
    with pytest.raises(NodePoolTooSmallError, match=r"asks 12 NVIDIA.* \(3 pods x 4\), the pool has 8"):
        train("good", nodes=3, gpus_per_node=4)
    with pytest.raises(NodePoolTooSmallError, match=r"asks 9 NVIDIA"):
        search("good", parallel_trials=9)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Range(name="lr", min=1.0, max=0.1),
        lambda: Choice(name="lr", values=()),
        lambda: Objective(metric="recall", type="maximise"),  # type: ignore[arg-type]
        lambda: Range(name="lr", min=0, max=1, stp=0.1),  # type: ignore[call-arg]
    ],
)
def test_a_search_that_makes_no_sense_fails_the_parse(make: Callable[[], object]) -> None:
    with pytest.raises(ValidationError):
        make()


def test_numbers_are_written_as_katib_reads_them() -> None:
    assert Range(name="layers", type="int", min=1, max=4, step=1).manifest() == {
        "name": "layers",
        "parameterType": "int",
        "feasibleSpace": {"min": "1", "max": "4", "step": "1"},
    }
    assert Objective(metric="loss", type="minimize", goal=0.1).manifest()["goal"] == 0.1
