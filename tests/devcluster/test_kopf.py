"""kopf: operators in Python, with finalizers, events and state in annotations."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException

from tests.devcluster.cluster import Cluster, eventually, is_missing

pytest.importorskip("kopf")

GROUP = f"k{uuid.uuid4().hex[:8]}.podium.test"
OPERATOR = Path(__file__).parent / "operators" / "gadgets.py"
PLURAL = "gadgets"


@dataclass
class Operator:
    """The operator as a process."""

    cluster: Cluster
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        environment = {
            **os.environ,
            "KUBECONFIG": str(self.cluster.kubeconfig),
            "TEST_GROUP": GROUP,
            "TEST_NAMESPACE": self.cluster.namespace,
        }
        command = [sys.executable, "-m", "kopf", "run", "--namespace", self.cluster.namespace, str(OPERATOR)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def stop(self, *, hard: bool = False) -> None:
        assert self.process is not None
        (self.process.kill if hard else self.process.terminate)()
        self.process.wait(60)


@pytest.fixture(scope="module")
def operator(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    definition = {
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": PLURAL, "kind": "Gadget"},
            "versions": [version],
        },
    }
    cluster.extensions.create_custom_resource_definition(definition)
    eventually(lambda: not is_missing(lambda: _list(cluster)))
    running = Operator(cluster, tmp_path_factory.mktemp("kopf") / "log")
    running.start()
    yield running
    for gadget in _list(cluster)["items"]:
        _delete(cluster, gadget["metadata"]["name"])
    eventually(lambda: not _list(cluster)["items"])
    running.stop()
    cluster.extensions.delete_custom_resource_definition(f"{PLURAL}.{GROUP}")


def _list(cluster: Cluster) -> Any:
    return cluster.custom.list_namespaced_custom_object(GROUP, "v1", cluster.namespace, PLURAL)


def _delete(cluster: Cluster, name: str) -> None:
    cluster.custom.delete_namespaced_custom_object(GROUP, "v1", cluster.namespace, PLURAL, name)


def make(cluster: Cluster, name: str, **spec: Any) -> None:
    body = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "Gadget",
        "metadata": {"name": name},
        "spec": {"size": 1, **spec},
    }
    cluster.custom.create_namespaced_custom_object(GROUP, "v1", cluster.namespace, PLURAL, body)


def status(cluster: Cluster, name: str, handler: str) -> dict[str, Any]:
    """What a handler has returned, once it has."""

    def look() -> dict[str, Any]:
        found = cluster.custom.get_namespaced_custom_object(GROUP, "v1", cluster.namespace, PLURAL, name)
        result: dict[str, Any] = (found.get("status") or {}).get(handler) or {}
        return result

    return eventually(look, what=f"status.{handler} of {name}")


def size_of(cluster: Cluster, name: str) -> str | None:
    try:
        found = cluster.core.read_namespaced_config_map(name, cluster.namespace)
    except ApiException as error:
        if error.status == 404:
            return None
        raise
    return str(found.data["size"])


def test_a_new_object_is_handled_once(cluster: Cluster, operator: Operator, name: str) -> None:
    make(cluster, name, size=3)
    assert status(cluster, name, "make")["attempt"] == 0
    child = cluster.core.read_namespaced_config_map(name, cluster.namespace)
    assert child.data == {"size": "3"}
    assert [owner.kind for owner in child.metadata.owner_references] == ["Gadget"]
    cluster.event(name, "Logging", "Creation is processed: 1 succeeded; 0 failed.")


def test_a_handler_that_asks_for_it_is_called_again(cluster: Cluster, operator: Operator, name: str) -> None:
    make(cluster, name, shy=True)
    assert status(cluster, name, "make")["attempt"] == 1
    cluster.event(name, "Logging", "not at the first time")


def test_a_handler_that_gives_up_is_reported(cluster: Cluster, operator: Operator, name: str) -> None:
    make(cluster, name, impossible=True)
    assert cluster.event(name, "Logging", "this cannot be made").type == "Error"
    assert size_of(cluster, name) is None


def test_a_change_is_handled_as_a_difference(cluster: Cluster, operator: Operator, name: str) -> None:
    make(cluster, name)
    status(cluster, name, "make")
    cluster.custom.patch_namespaced_custom_object(
        GROUP, "v1", cluster.namespace, PLURAL, name, {"spec": {"size": 2, "other": "x"}}
    )
    assert status(cluster, name, "resize/spec.size") == {"from": 1, "to": 2}
    assert size_of(cluster, name) == "2"


def test_a_deletion_waits_for_its_handler_and_takes_the_children_along(
    cluster: Cluster, operator: Operator, name: str
) -> None:
    make(cluster, name)
    status(cluster, name, "make")
    found = cluster.custom.get_namespaced_custom_object(GROUP, "v1", cluster.namespace, PLURAL, name)
    assert found["metadata"]["finalizers"] == ["kopf.zalando.org/KopfFinalizerMarker"]
    _delete(cluster, name)
    eventually(
        lambda: not is_missing(lambda: cluster.core.read_namespaced_config_map(f"{name}-goodbye", cluster.namespace))
    )
    eventually(lambda: name not in [gadget["metadata"]["name"] for gadget in _list(cluster)["items"]])
    eventually(lambda: size_of(cluster, name) is None)


def test_what_changed_while_the_operator_was_dead_is_handled(cluster: Cluster, operator: Operator, name: str) -> None:
    make(cluster, name)
    status(cluster, name, "make")
    operator.stop(hard=True)
    cluster.custom.patch_namespaced_custom_object(GROUP, "v1", cluster.namespace, PLURAL, name, {"spec": {"size": 9}})
    operator.start()
    assert status(cluster, name, "resize/spec.size") == {"from": 1, "to": 9}
    assert size_of(cluster, name) == "9"
