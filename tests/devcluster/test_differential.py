"""The answers of the dev cluster are those of a real API server, request by request.

Against the dev cluster alone the answers of a real one are those on record. With `--kubeconfig` the real one is asked
too, and a record that is not what it answers fails. `differential/exceptions.py` says what may differ, and why.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.devcluster.differential import recorded
from tests.devcluster.differential.difference import differences
from tests.devcluster.differential.requests import TOPICS
from tests.devcluster.differential.session import Answer, Session
from tests.devcluster.server import DevCluster

LEAST = 1_300
"""Requests that are compared."""


@pytest.fixture(scope="module")
def dev(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Kubeconfig of a dev cluster, also where the other tests run on a real one."""
    server = DevCluster(tmp_path_factory.mktemp("differential"), isolation=request.config.getoption("--isolation"))
    with server.running():
        yield server.kubeconfig


def test_there_is_much_to_compare() -> None:
    assert sum(len(case) for topic in TOPICS.values() for case in topic.values()) >= LEAST


@pytest.mark.parametrize("topic", TOPICS)
def test_the_dev_cluster_answers_as_a_real_one(dev: Path, topic: str) -> None:
    assert found(topic, recorded.read(topic), answers(dev, topic)) == []


@pytest.mark.parametrize("topic", TOPICS)
def test_the_record_is_what_a_real_cluster_answers(kubeconfig: Path, is_real: bool, topic: str) -> None:
    if not is_real:
        pytest.skip("needs a real cluster: --kubeconfig")
    assert found(topic, answers(kubeconfig, topic), recorded.read(topic)) == []


def answers(kubeconfig: Path, topic: str) -> dict[str, list[Answer]]:
    with Session(kubeconfig) as session:
        return {name: session.run(case) for name, case in TOPICS[topic].items()}


def found(topic: str, real: dict[str, list[Answer]], dev: dict[str, list[Answer]]) -> list[str]:
    """Every difference, with the request that it came from."""
    assert {name: len(given) for name, given in real.items()} == {name: len(given) for name, given in dev.items()}
    return [
        f"{topic}/{name}[{step}] {TOPICS[topic][name][step].method} {TOPICS[topic][name][step].path} {text}"
        for name, given in real.items()
        for step, (wanted, got) in enumerate(zip(given, dev[name], strict=True))
        for text in differences(f"{topic}/{name}", step, wanted, got)
    ]
