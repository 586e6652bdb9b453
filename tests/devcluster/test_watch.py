"""Watches."""

from __future__ import annotations

import json
import time

import pytest
from kubernetes import watch
from kubernetes.client.exceptions import ApiException

from tests.devcluster.cluster import Cluster, eventually


def test_changes_come_in_order_from_a_version_on(cluster: Cluster, name: str) -> None:
    start = cluster.core.list_namespaced_config_map(cluster.namespace).metadata.resource_version
    cluster.config_map(name, {"a": "1"})
    cluster.core.patch_namespaced_config_map(name, cluster.namespace, {"data": {"a": "2"}})
    cluster.core.delete_namespaced_config_map(name, cluster.namespace)
    seen = []
    for kind, found, revision in cluster.watch(resource_version=start):
        if found == name:
            seen.append((kind, int(revision)))
            if kind == "DELETED":
                break
    assert [kind for kind, _ in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert [revision for _, revision in seen] == sorted({revision for _, revision in seen})


def test_a_watch_without_a_version_begins_with_what_there_is(cluster: Cluster, name: str) -> None:
    cluster.config_map(name)
    seen = {(kind, found) for kind, found, _ in cluster.watch(timeout=1, field_selector=f"metadata.name={name}")}
    assert seen == {("ADDED", name)}


def test_a_watch_ends_when_asked(cluster: Cluster) -> None:
    began = time.monotonic()
    revision = cluster.core.list_namespaced_config_map(cluster.namespace).metadata.resource_version
    assert list(cluster.watch(timeout=1, resource_version=revision)) == []
    assert 0.9 < time.monotonic() - began < 20


def test_what_leaves_a_selection_is_gone_for_its_watchers(cluster: Cluster, name: str) -> None:
    start = cluster.core.list_namespaced_config_map(cluster.namespace).metadata.resource_version
    cluster.config_map(name, labels={"in": "no"})
    for value in ("yes", "no", "yes"):
        cluster.core.patch_namespaced_config_map(name, cluster.namespace, {"metadata": {"labels": {"in": value}}})
    seen = []
    for kind, _, _ in cluster.watch(
        resource_version=start, label_selector="in=yes", field_selector=f"metadata.name={name}"
    ):
        seen.append(kind)
        if len(seen) == 3:
            break
    assert seen == ["ADDED", "DELETED", "ADDED"]


def test_a_watcher_learns_of_changes_as_they_come(cluster: Cluster, name: str) -> None:
    start = cluster.core.list_namespaced_pod(cluster.namespace).metadata.resource_version
    cluster.start(name, "sleep 1")
    stream = watch.Watch().stream(
        cluster.core.list_namespaced_pod, cluster.namespace, field_selector=f"metadata.name={name}",
        resource_version=start, timeout_seconds=60,
    )  # fmt: skip
    phases: list[str] = []
    for event in stream:
        phase = event["object"].status.phase
        if not phases or phases[-1] != phase:
            phases.append(phase)
        if phase == "Succeeded":
            break
    assert phases == ["Pending", "Running", "Succeeded"]


def test_a_list_as_a_stream_ends_with_a_bookmark(cluster: Cluster, name: str) -> None:
    cluster.config_map(name)
    query = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=2"
    text = cluster.raw(
        "GET", f"/api/v1/namespaces/{cluster.namespace}/configmaps?{query}&fieldSelector=metadata.name={name}"
    )
    events = [json.loads(line) for line in text.splitlines()]
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["ADDED", "BOOKMARK"]
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_a_version_that_is_none_is_refused(cluster: Cluster) -> None:
    with pytest.raises(ApiException) as caught:
        list(cluster.watch(timeout=1, resource_version="yesterday"))
    assert caught.value.status in (400, 500)  # a real server calls it an internal error


def test_a_watch_of_all_namespaces(cluster: Cluster, name: str) -> None:
    start = cluster.core.list_config_map_for_all_namespaces().metadata.resource_version
    cluster.config_map(name)
    stream = watch.Watch().stream(
        cluster.core.list_config_map_for_all_namespaces, resource_version=start, timeout_seconds=20,
        field_selector=f"metadata.name={name}",
    )  # fmt: skip
    event = next(iter(stream))
    assert (event["type"], event["object"].metadata.namespace) == ("ADDED", cluster.namespace)


def test_a_deleted_pods_last_event_is_its_deletion(cluster: Cluster, name: str) -> None:
    cluster.start(name, "sleep 60")
    start = cluster.wait(name, "Running").metadata.resource_version
    cluster.core.delete_namespaced_pod(name, cluster.namespace, grace_period_seconds=1)
    eventually(lambda: cluster.gone(name))
    stream = watch.Watch().stream(
        cluster.core.list_namespaced_pod, cluster.namespace, field_selector=f"metadata.name={name}",
        resource_version=start, timeout_seconds=5,
    )  # fmt: skip
    kinds = [event["type"] for event in stream]
    assert kinds[-1] == "DELETED"
    assert set(kinds[:-1]) == {"MODIFIED"}
