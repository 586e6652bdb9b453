"""Objects: create, read, change, delete, and what the server keeps straight."""

from __future__ import annotations

import base64
import contextlib
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException

from tests.devcluster.cluster import Cluster, eventually, is_missing, refused


def path(cluster: Cluster, name: str) -> str:
    return f"/api/v1/namespaces/{cluster.namespace}/configmaps/{name}"


def data(cluster: Cluster, name: str) -> dict[str, str]:
    return cluster.core.read_namespaced_config_map(name, cluster.namespace).data or {}


def test_an_object_gets_an_identity(cluster: Cluster, name: str) -> None:
    made = cluster.config_map(name, {"a": "1"})
    assert made.metadata.uid
    assert made.metadata.creation_timestamp
    assert int(made.metadata.resource_version) > 0
    assert made.metadata.namespace == cluster.namespace


def test_a_change_based_on_an_old_version_conflicts(cluster: Cluster, name: str) -> None:
    made = cluster.config_map(name, {"a": "1"})
    cluster.core.patch_namespaced_config_map(name, cluster.namespace, {"data": {"a": "2"}})
    made.data = {"a": "3"}
    refused(
        409, lambda: cluster.core.replace_namespaced_config_map(name, cluster.namespace, made), reason="Conflict",
        message="the object has been modified; please apply your changes to the latest version and try again",
    )  # fmt: skip
    made.metadata.resource_version = None
    assert cluster.core.replace_namespaced_config_map(name, cluster.namespace, made).data == {"a": "3"}


def test_a_change_that_changes_nothing_is_none(cluster: Cluster, name: str) -> None:
    made = cluster.config_map(name, {"a": "1"})
    again = cluster.core.patch_namespaced_config_map(name, cluster.namespace, {"data": {"a": "1"}})
    assert again.metadata.resource_version == made.metadata.resource_version


def test_merge_patch(cluster: Cluster, name: str) -> None:
    cluster.config_map(name, {"a": "1", "b": "2"}, labels={"x": "y"})
    cluster.patch(path(cluster, name), {"data": {"a": None, "c": "3"}}, "application/merge-patch+json")
    assert data(cluster, name) == {"b": "2", "c": "3"}


def test_json_patch(cluster: Cluster, name: str) -> None:
    cluster.config_map(name, {"a": "1"})
    kind = "application/json-patch+json"
    operations = [{"op": "test", "path": "/data/a", "value": "1"}, {"op": "add", "path": "/data/b", "value": "2"}]
    cluster.patch(path(cluster, name), operations, kind)
    assert data(cluster, name) == {"a": "1", "b": "2"}
    refused(
        422,
        lambda: cluster.patch(path(cluster, name), [{"op": "test", "path": "/data/a", "value": "9"}], kind),
        reason="Invalid",
    )
    refused(
        422,
        lambda: cluster.patch(path(cluster, name), [{"op": "remove", "path": "/data/none"}], kind),
        reason="Invalid",
    )


def test_strategic_merge_patch_merges_lists_by_key(cluster: Cluster, name: str) -> None:
    cluster.start(name, "sleep 60", metadata={"finalizers": ["podium.test/one"]})
    kind = "application/strategic-merge-patch+json"
    pod_path = f"/api/v1/namespaces/{cluster.namespace}/pods/{name}"
    change = {
        "metadata": {"finalizers": ["podium.test/two"]},
        "spec": {"containers": [{"name": "main", "image": "busybox:1.37"}], "activeDeadlineSeconds": 500},
    }
    found = cluster.patch(pod_path, change, kind)
    assert found["metadata"]["finalizers"] == ["podium.test/two", "podium.test/one"]
    assert found["spec"]["containers"][0]["command"][0] == "sh"
    assert found["spec"]["containers"][0]["image"] == "busybox:1.37"
    directive = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["podium.test/one", "podium.test/two"]}}
    assert "finalizers" not in cluster.patch(pod_path, directive, kind)["metadata"]


def test_an_unknown_patch_is_refused(cluster: Cluster, name: str) -> None:
    cluster.config_map(name)
    refused(
        415, lambda: cluster.patch(path(cluster, name), {}, "application/wonder-patch"), reason="UnsupportedMediaType"
    )


def test_apply_creates_and_changes(cluster: Cluster, name: str) -> None:
    body = {"metadata": {"name": name}, "data": {"a": "1", "b": "2"}}
    made = cluster.apply(body, "one")
    assert made["data"] == {"a": "1", "b": "2"}
    (entry,) = made["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("one", "Apply")
    assert entry["fieldsV1"]["f:data"] == {".": {}, "f:a": {}, "f:b": {}} or entry["fieldsV1"]["f:data"] == {
        "f:a": {},
        "f:b": {},
    }
    changed = cluster.apply({"metadata": {"name": name}, "data": {"a": "9"}}, "one")
    assert changed["data"] == {"a": "9"}  # b was this manager's alone: no longer wanted, no longer there


def test_apply_again_changes_nothing(cluster: Cluster, name: str) -> None:
    body = {"metadata": {"name": name}, "data": {"a": "1"}}
    one, two = cluster.apply(body, "one"), cluster.apply(body, "one")
    assert one["metadata"]["resourceVersion"] == two["metadata"]["resourceVersion"]


def test_apply_conflicts_until_forced(cluster: Cluster, name: str) -> None:
    cluster.apply({"metadata": {"name": name}, "data": {"a": "1", "own": "x"}}, "one")
    wanted = {"metadata": {"name": name}, "data": {"a": "2"}}
    error = refused(
        409, lambda: cluster.apply(wanted, "two"), reason="Conflict", message='conflict with "one": .data.a'
    )
    assert "Apply failed with 1 conflict" in error.body
    assert cluster.apply(wanted, "two", force="true")["data"] == {"a": "2", "own": "x"}
    shared = cluster.apply({"metadata": {"name": name}, "data": {"a": "2", "own": "x"}}, "one")
    assert shared["data"] == {"a": "2", "own": "x"}
    left = cluster.apply({"metadata": {"name": name}, "data": {"own": "x"}}, "one")
    assert left["data"]["a"] == "2"  # two still wants it


def test_apply_conflicts_with_what_others_have_written(cluster: Cluster, name: str) -> None:
    cluster.apply({"metadata": {"name": name}, "data": {"a": "1"}}, "one")
    kind = "application/merge-patch+json"
    cluster.patch(path(cluster, name), {"data": {"a": "2"}}, kind, fieldManager="editor")
    wanted = {"metadata": {"name": name}, "data": {"a": "3"}}
    refused(409, lambda: cluster.apply(wanted, "one"), message='conflict with "editor"')
    assert cluster.apply({"metadata": {"name": name}, "data": {"a": "2"}}, "one")["data"] == {"a": "2"}


def test_apply_wants_a_manager(cluster: Cluster, name: str) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
    call = lambda: cluster.patch(path(cluster, name), body, "application/apply-patch+yaml")  # noqa: E731
    refused(422, call, message="is required for apply patch")


def test_apply_owns_items_of_keyed_lists(cluster: Cluster, name: str) -> None:
    pod_path = f"/api/v1/namespaces/{cluster.namespace}/pods/{name}"
    body = {"apiVersion": "v1", **cluster.manifest(name, "sleep 60")}
    kind = "application/apply-patch+yaml"
    made = cluster.patch(pod_path, body, kind, fieldManager="one")
    (entry,) = [m for m in made["metadata"]["managedFields"] if m["manager"] == "one"]
    assert 'k:{"name":"main"}' in entry["fieldsV1"]["f:spec"]["f:containers"]
    image = {"spec": {"containers": [{"name": "main", "image": "busybox:1.37"}]}}
    cluster.patch(pod_path, image, "application/strategic-merge-patch+json", fieldManager="two")
    error = refused(409, lambda: cluster.patch(pod_path, body, kind, fieldManager="one"))
    assert 'containers[name=\\"main\\"].image' in error.body.replace('\\\\"', '\\"')


SELECTORS = [
    ("tier=web", {"a"}),
    ("tier==web", {"a"}),
    ("tier!=web", {"b", "c"}),
    ("tier in (web, db)", {"a", "b"}),
    ("tier notin (web)", {"b", "c"}),
    ("tier", {"a", "b"}),
    ("!tier", {"c"}),
    ("tier,tier!=db", {"a"}),
    ("shop.example/zone=eu", {"c"}),
]


@pytest.mark.parametrize(("selector", "expected"), SELECTORS)
def test_label_selectors(cluster: Cluster, selector: str, expected: set[str]) -> None:
    labels = {"a": {"tier": "web"}, "b": {"tier": "db"}, "c": {"shop.example/zone": "eu"}}
    for each, found in labels.items():
        if is_missing(lambda each=each: cluster.core.read_namespaced_config_map(f"sel-{each}", cluster.namespace)):
            cluster.config_map(f"sel-{each}", labels={**found, "set": "selectors"})
    listed = cluster.core.list_namespaced_config_map(cluster.namespace, label_selector=f"set=selectors,{selector}")
    assert {i.metadata.name.removeprefix("sel-") for i in listed.items} == expected


def test_a_selector_that_makes_no_sense_is_refused(cluster: Cluster) -> None:
    refused(
        400,
        lambda: cluster.core.list_namespaced_config_map(cluster.namespace, label_selector="a in b"),
        reason="BadRequest",
    )
    unknown = "spec.colour=red"
    refused(
        400,
        lambda: cluster.core.list_namespaced_pod(cluster.namespace, field_selector=unknown),
        message="field label not supported",
    )


def test_field_selectors(cluster: Cluster, name: str) -> None:
    cluster.start(f"{name}-on", "sleep 60")
    cluster.run(f"{name}-off")
    cluster.wait(f"{name}-on", "Running")

    def names(selector: str) -> set[str]:
        found = cluster.core.list_namespaced_pod(cluster.namespace, field_selector=selector).items
        return {p.metadata.name.removeprefix(f"{name}-") for p in found if p.metadata.name.startswith(name)}

    assert names("status.phase=Running") == {"on"}
    assert names("status.phase!=Running") == {"off"}
    assert names(f"metadata.name={name}-off") == {"off"}
    node = cluster.pod(f"{name}-on").spec.node_name
    assert names(f"spec.nodeName={node},status.phase=Succeeded") == {"off"}


def test_lists_come_in_pages(cluster: Cluster) -> None:
    for index in range(5):
        cluster.config_map(f"page-{index}", labels={"set": "pages"})
    first = cluster.core.list_namespaced_config_map(cluster.namespace, label_selector="set=pages", limit=2)
    names = [i.metadata.name for i in first.items]
    token = first.metadata._continue
    while token:
        page = cluster.core.list_namespaced_config_map(
            cluster.namespace, label_selector="set=pages", limit=2, _continue=token
        )
        names += [i.metadata.name for i in page.items]
        token = page.metadata._continue
    assert names == [f"page-{i}" for i in range(5)]


def test_a_list_of_all_namespaces(cluster: Cluster, name: str) -> None:
    cluster.config_map(name)
    found = cluster.core.list_config_map_for_all_namespaces(field_selector=f"metadata.name={name}").items
    assert [(i.metadata.namespace, i.metadata.name) for i in found] == [(cluster.namespace, name)]


def test_a_dry_run_changes_nothing(cluster: Cluster, name: str) -> None:
    body = {"metadata": {"name": name}, "data": {"a": "1"}}
    made = cluster.core.create_namespaced_config_map(cluster.namespace, body, dry_run="All")
    assert made.metadata.uid
    assert is_missing(lambda: cluster.core.read_namespaced_config_map(name, cluster.namespace))
    cluster.config_map(name, {"a": "1"})
    cluster.core.patch_namespaced_config_map(name, cluster.namespace, {"data": {"a": "2"}}, dry_run="All")
    cluster.core.delete_namespaced_config_map(name, cluster.namespace, dry_run="All")
    assert data(cluster, name) == {"a": "1"}


def test_a_finalizer_holds_an_object(cluster: Cluster, name: str) -> None:
    cluster.config_map(name, finalizers=["podium.test/hold"])
    cluster.core.delete_namespaced_config_map(name, cluster.namespace)
    held = cluster.core.read_namespaced_config_map(name, cluster.namespace)
    assert held.metadata.deletion_timestamp
    more = {"metadata": {"finalizers": ["podium.test/hold", "podium.test/another"]}}
    refused(
        422,
        lambda: cluster.core.patch_namespaced_config_map(name, cluster.namespace, more),
        message="no new finalizers",
    )
    cluster.core.patch_namespaced_config_map(name, cluster.namespace, {"metadata": {"finalizers": None}})
    assert is_missing(lambda: cluster.core.read_namespaced_config_map(name, cluster.namespace))


def test_a_deletion_may_name_what_it_means(cluster: Cluster, name: str) -> None:
    made = cluster.config_map(name)
    wrong = {"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}}
    delete = cluster.core.delete_namespaced_config_map
    refused(
        409,
        lambda: delete(name, cluster.namespace, body=wrong),
        reason="Conflict",
        message="the UID in the precondition",
    )
    answer = delete(name, cluster.namespace, body={"preconditions": {"uid": made.metadata.uid}})
    assert (answer.status, answer.details.name, answer.details.uid) == ("Success", name, made.metadata.uid)
    refused(404, lambda: delete(name, cluster.namespace), reason="NotFound", message=f'configmaps "{name}" not found')


def test_a_selection_is_deleted_at_once(cluster: Cluster, name: str) -> None:
    for index in range(3):
        cluster.config_map(f"{name}-{index}", labels={"go": "yes" if index else "no", "set": name})
    cluster.core.delete_collection_namespaced_config_map(cluster.namespace, label_selector=f"go=yes,set={name}")
    left = eventually(
        lambda: cluster.core.list_namespaced_config_map(cluster.namespace, label_selector=f"set={name}").items
    )
    assert [i.metadata.name for i in left] == [f"{name}-0"]


def test_secrets_are_base64(cluster: Cluster, name: str) -> None:
    cluster.secret(name, {"key": "value"})
    found = cluster.core.read_namespaced_secret(name, cluster.namespace)
    assert (found.type, base64.b64decode(found.data["key"])) == ("Opaque", b"value")
    assert found.string_data is None
    body = {"metadata": {"name": f"{name}-bad"}, "data": {"key": "not base64!"}}
    refused(400, lambda: cluster.core.create_namespaced_secret(cluster.namespace, body), message="illegal base64 data")


def test_what_is_immutable_stays(cluster: Cluster, name: str) -> None:
    body = {"metadata": {"name": name}, "data": {"a": "1"}, "immutable": True}
    cluster.core.create_namespaced_config_map(cluster.namespace, body)
    change = {"data": {"a": "2"}}
    call = lambda: cluster.core.patch_namespaced_config_map(name, cluster.namespace, change)  # noqa: E731
    refused(422, call, message="field is immutable when `immutable` is set")


def test_a_config_map_holds_strings(cluster: Cluster, name: str) -> None:
    body: Any = {"metadata": {"name": name}, "data": {"number": 5}}
    refused(400, lambda: cluster.core.create_namespaced_config_map(cluster.namespace, body), message="ConfigMap")


@pytest.mark.parametrize("field", ["uid", "creationTimestamp"])
def test_the_servers_own_fields_stay(cluster: Cluster, name: str, field: str) -> None:
    cluster.config_map(name)
    before = cluster.raw("GET", path(cluster, name))["metadata"]
    value = {"uid": "11111111-1111-1111-1111-111111111111", "creationTimestamp": "2001-01-01T00:00:00Z"}[field]
    with contextlib.suppress(ApiException):  # a uid is a precondition, a time is ignored
        cluster.patch(path(cluster, name), {"metadata": {field: value}}, "application/merge-patch+json")
    assert cluster.raw("GET", path(cluster, name))["metadata"][field] == before[field]


def test_a_path_that_leads_nowhere(cluster: Cluster) -> None:
    refused(404, lambda: cluster.raw("GET", "/apis/nothing.example/v1/things"))
    refused(404, lambda: cluster.raw("GET", "/api/v1/nothings"))


def test_strangers_are_not_let_in(cluster: Cluster) -> None:
    from kubernetes import client

    configuration = client.Configuration()
    configuration.host = cluster.client.configuration.host
    configuration.ssl_ca_cert = cluster.client.configuration.ssl_ca_cert
    configuration.api_key = {"authorization": "Bearer wrong"}
    stranger = client.CoreV1Api(client.ApiClient(configuration))
    refused(401, lambda: stranger.list_namespaced_pod(cluster.namespace), reason="Unauthorized")
