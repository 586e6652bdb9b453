"""kr8s: a client that finds kinds by discovery and speaks to the API with httpx."""

from __future__ import annotations

import pytest

from tests.devcluster.cluster import Cluster, eventually

kr8s = pytest.importorskip("kr8s")

from kr8s.objects import ConfigMap, Pod  # noqa: E402 - only where kr8s is


@pytest.fixture
def api(cluster: Cluster) -> kr8s.Api:
    return kr8s.api(kubeconfig=str(cluster.kubeconfig), namespace=cluster.namespace)


def config_map(api: kr8s.Api, name: str, **data: str) -> ConfigMap:
    metadata = {"name": name, "namespace": api.namespace}
    return ConfigMap({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}, api=api)


def pod(api: kr8s.Api, cluster: Cluster, name: str, script: str) -> Pod:
    manifest = cluster.manifest(name, script, metadata={"namespace": api.namespace, "labels": {"made": name}})
    return Pod(manifest, api=api)


def test_a_pod_is_waited_for_entered_and_read(api: kr8s.Api, cluster: Cluster, name: str) -> None:
    made = pod(api, cluster, name, "echo said; sleep 60")
    made.create()
    made.wait("condition=Ready", timeout=60)
    assert made.ready()
    assert made.exec(["echo", "inside"]).stdout == b"inside\n"
    eventually(lambda: list(made.logs()) == ["said"])
    made.delete()
    eventually(lambda: not made.exists())


def test_a_command_that_fails_says_so(api: kr8s.Api, cluster: Cluster, name: str) -> None:
    made = pod(api, cluster, name, "sleep 60")
    made.create()
    made.wait("condition=Ready", timeout=60)
    done = made.exec(["sh", "-c", "echo why >&2; exit 3"], check=False)
    assert (done.returncode, done.stderr) == (3, b"why\n")


def test_objects_are_changed_and_found_by_label(api: kr8s.Api, name: str) -> None:
    made = config_map(api, name, a="1")
    made.create()
    made.label(team=name)
    made.annotate(seen="yes")
    made.patch({"data": {"b": "2"}})
    (found,) = api.get("configmaps", label_selector={"team": name})
    assert found.data == {"a": "1", "b": "2"}
    assert found.annotations["seen"] == "yes"
    made.delete()
    assert not list(api.get("configmaps", label_selector={"team": name}))


def test_a_json_patch(api: kr8s.Api, name: str) -> None:
    made = config_map(api, name, a="1")
    made.create()
    made.patch([{"op": "replace", "path": "/data/a", "value": "2"}], type="json")
    made.refresh()
    assert made.data == {"a": "2"}


def test_kinds_are_found_by_every_name_that_they_have(api: kr8s.Api, name: str) -> None:
    config_map(api, name).create()
    for kind in ("configmap", "configmaps", "cm", "ConfigMap", "configmaps.v1"):
        assert [found.name for found in api.get(kind, name)] == [name], kind


def test_a_watch_sees_changes(api: kr8s.Api, name: str) -> None:
    made = config_map(api, name, a="1")
    made.create()
    made.label(team=name)
    seen: list[str] = []
    for event, found in api.watch("configmaps", label_selector={"team": name}):
        seen.append(event)
        if event == "ADDED":
            found.patch({"data": {"a": "2"}})
        elif event == "MODIFIED":
            found.delete()
        else:
            break
    assert seen == ["ADDED", "MODIFIED", "DELETED"]


def test_what_is_not_there(api: kr8s.Api, name: str) -> None:
    with pytest.raises(kr8s.NotFoundError):
        config_map(api, name).refresh()


def test_a_second_of_the_same_name_is_refused(api: kr8s.Api, name: str) -> None:
    config_map(api, name).create()
    with pytest.raises(kr8s.ServerError) as refused:
        config_map(api, name).create()
    assert refused.value.response.status_code == 409
    assert "already exists" in str(refused.value)


def test_the_version_is_known(api: kr8s.Api) -> None:
    assert int(api.version()["major"]) == 1
