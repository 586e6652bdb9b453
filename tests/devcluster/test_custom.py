"""Kinds defined by CustomResourceDefinition."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.devcluster.cluster import Cluster, eventually, refused

GROUP = f"g{uuid.uuid4().hex[:8]}.podium.test"


@pytest.fixture(scope="module")
def widgets(cluster: Cluster) -> Iterator[str]:
    """Path of a collection of custom objects."""
    parts = {
        "type": "array",
        "items": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    }
    properties = {
        "spec": {
            "type": "object",
            "properties": {
                "size": {"type": "integer", "minimum": 0},
                "colour": {"type": "string", "enum": ["red", "blue"]},
                "parts": parts,
                "mode": {"type": "string", "default": "plain"},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        },
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    }
    definition = {
        "metadata": {"name": f"widgets.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": [f"w{GROUP[:4]}"]},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                        {"name": "State", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Done")].status'},
                    ],
                }
            ],
        },
    }
    cluster.extensions.create_custom_resource_definition(definition)

    def established() -> bool:
        found = cluster.extensions.read_custom_resource_definition(f"widgets.{GROUP}")
        return any(c.type == "Established" and c.status == "True" for c in found.status.conditions or [])

    eventually(established)
    path = f"/apis/{GROUP}/v1/namespaces/{cluster.namespace}/widgets"
    eventually(lambda: _answers(cluster, path))
    yield path
    cluster.extensions.delete_custom_resource_definition(f"widgets.{GROUP}")


def _answers(cluster: Cluster, path: str) -> bool:
    from kubernetes.client.exceptions import ApiException

    try:
        cluster.raw("GET", path)
    except ApiException:
        return False
    return True


def make(cluster: Cluster, widgets: str, name: str, size: int = 1) -> dict[str, object]:
    body = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": {"size": size, "parts": [{"name": "a"}]},
    }
    made: dict[str, object] = cluster.raw("POST", widgets, body)
    return made


def test_status_and_spec_are_written_apart(cluster: Cluster, widgets: str, name: str) -> None:
    made = make(cluster, widgets, name)
    assert made["metadata"]["generation"] == 1  # type: ignore[index]
    merge = "application/merge-patch+json"
    done = {"status": {"conditions": [{"type": "Done", "status": "True"}]}, "spec": {"size": 99}}
    after = cluster.patch(f"{widgets}/{name}/status", done, merge)
    assert (after["spec"]["size"], after["metadata"]["generation"]) == (1, 1)
    after = cluster.patch(f"{widgets}/{name}", {"spec": {"size": 2}, "status": None}, merge)
    assert (after["spec"]["size"], after["metadata"]["generation"]) == (2, 2)
    assert after["status"]["conditions"]


def test_a_status_sent_at_creation_is_dropped(cluster: Cluster, widgets: str, name: str) -> None:
    body = {"apiVersion": f"{GROUP}/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {}, "status": {"x": 1}}
    assert "status" not in cluster.raw("POST", widgets, body)


def test_lists_are_replaced_and_strategic_merge_is_refused(cluster: Cluster, widgets: str, name: str) -> None:
    make(cluster, widgets, name)
    after = cluster.patch(f"{widgets}/{name}", {"spec": {"parts": [{"name": "b"}]}}, "application/merge-patch+json")
    assert after["spec"]["parts"] == [{"name": "b"}]
    call = lambda: cluster.patch(f"{widgets}/{name}", {}, "application/strategic-merge-patch+json")  # noqa: E731
    refused(415, call, reason="UnsupportedMediaType")


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ({"op": "add", "path": "a/1", "value": 9}, {"a": [1, 9, 2], "b": {"c": 3}}),
        ({"op": "add", "path": "a/-", "value": 9}, {"a": [1, 2, 9], "b": {"c": 3}}),
        ({"op": "replace", "path": "b/c", "value": "x"}, {"a": [1, 2], "b": {"c": "x"}}),
        ({"op": "replace", "path": "a/0", "value": 9}, {"a": [9, 2], "b": {"c": 3}}),
        ({"op": "replace", "path": "x", "value": 9}, {"a": [1, 2], "b": {"c": 3}, "x": 9}),
        ({"op": "remove", "path": "a/0"}, {"a": [2], "b": {"c": 3}}),
        ({"op": "move", "from": "b/c", "path": "d"}, {"a": [1, 2], "b": {}, "d": 3}),
        ({"op": "copy", "from": "a", "path": "b/c"}, {"a": [1, 2], "b": {"c": [1, 2]}}),
        ({"op": "test", "path": "b", "value": {"c": 3}}, {"a": [1, 2], "b": {"c": 3}}),
    ],
)
def test_operations_of_a_json_patch(
    cluster: Cluster, widgets: str, name: str, operation: dict[str, Any], expected: dict[str, Any]
) -> None:
    free_widget(cluster, widgets, name)
    after = cluster.patch(f"{widgets}/{name}", [in_free(operation)], "application/json-patch+json")
    assert after["spec"]["free"] == expected


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ({"op": "remove", "path": "x"}, 422),
        ({"op": "add", "path": "a/5", "value": 1}, 422),
        ({"op": "add", "path": "x/y", "value": 1}, 422),
        ({"op": "replace", "path": "a/5", "value": 1}, 422),
        ({"op": "test", "path": "a", "value": 1}, 422),
        ({"op": "test", "path": "a"}, 422),
        ({"op": "wonder", "path": "a"}, 422),
        ({"path": "a"}, 422),
        ({"op": "add", "value": 1}, 422),
        ({"op": "move", "path": "d"}, 422),
        ({"op": "move", "from": "x", "path": "d"}, 422),
        ({"op": 5, "path": "a"}, 400),
        ("nothing", 400),
    ],
)
def test_operations_that_cannot_be_done(cluster: Cluster, widgets: str, name: str, operation: Any, code: int) -> None:
    free_widget(cluster, widgets, name)
    change = [in_free(operation) if isinstance(operation, dict) else operation]
    refused(code, lambda: cluster.patch(f"{widgets}/{name}", change, "application/json-patch+json"))


def free_widget(cluster: Cluster, widgets: str, name: str) -> None:
    """A widget with something to patch where anything may stand."""
    make(cluster, widgets, name)
    free = {"spec": {"free": {"a": [1, 2], "b": {"c": 3}}}}
    cluster.patch(f"{widgets}/{name}", free, "application/merge-patch+json")


def in_free(operation: dict[str, Any]) -> dict[str, Any]:
    """The operation with its pointers below `/spec/free`."""
    return {key: f"/spec/free/{value}" if key in ("path", "from") else value for key, value in operation.items()}


def test_a_replacement_must_say_what_it_replaces(cluster: Cluster, widgets: str, name: str) -> None:
    made = make(cluster, widgets, name)
    revision = made["metadata"].pop("resourceVersion")  # type: ignore[attr-defined]
    refused(
        422, lambda: cluster.raw("PUT", f"{widgets}/{name}", made), message="metadata.resourceVersion: Invalid value"
    )
    made["metadata"]["resourceVersion"] = revision  # type: ignore[index]
    made["spec"] = {"size": 5}
    assert cluster.raw("PUT", f"{widgets}/{name}", made)["spec"]["size"] == 5
    refused(409, lambda: cluster.raw("PUT", f"{widgets}/{name}", {**made, "spec": {"size": 6}}), reason="Conflict")


def test_server_side_apply_of_a_custom_object(cluster: Cluster, widgets: str, name: str) -> None:
    body = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": {"size": 1, "colour": "red"},
    }
    kind = "application/apply-patch+yaml"
    made = cluster.patch(f"{widgets}/{name}", body, kind, fieldManager="one")
    assert made["spec"] == {"size": 1, "colour": "red", "mode": "plain"}
    conflicting = {**body, "spec": {"size": 2}}
    refused(
        409, lambda: cluster.patch(f"{widgets}/{name}", conflicting, kind, fieldManager="two"), message=".spec.size"
    )
    status = {**body, "status": {"ready": True}}
    del status["spec"]
    after = cluster.patch(f"{widgets}/{name}/status", status, kind, fieldManager="controller", force="true")
    assert after["status"] == {"ready": True}
    assert after["spec"] == {"size": 1, "colour": "red", "mode": "plain"}


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"size": "big"}, 'spec.size in body must be of type integer: "string"'),
        ({"size": -1}, "spec.size in body should be greater than or equal to 0"),
        ({"colour": "green"}, 'Unsupported value: "green": supported values: "red", "blue"'),
        ({"parts": [{}]}, "spec.parts[0].name: Required value"),
        ([], 'spec in body must be of type object: "array"'),
    ],
)
def test_an_object_must_match_its_schema(
    cluster: Cluster, widgets: str, name: str, spec: object, complaint: str
) -> None:
    body = {"apiVersion": f"{GROUP}/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}
    refused(422, lambda: cluster.raw("POST", widgets, body), reason="Invalid", message=complaint)


def test_unknown_fields_are_dropped_and_defaults_filled_in(cluster: Cluster, widgets: str, name: str) -> None:
    spec = {"size": 1, "unknown": 2, "free": {"anything": {"goes": 1}}}
    body = {"apiVersion": f"{GROUP}/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}
    made = cluster.raw("POST", widgets, body)
    assert made["spec"] == {"size": 1, "mode": "plain", "free": {"anything": {"goes": 1}}}
    after = cluster.patch(f"{widgets}/{name}", {"spec": {"another": 1}}, "application/merge-patch+json")
    assert after["spec"] == made["spec"]
    assert after["metadata"]["generation"] == 1


def test_a_deleted_custom_object_answers_with_a_status(cluster: Cluster, widgets: str, name: str) -> None:
    make(cluster, widgets, name)
    answer = cluster.raw("DELETE", f"{widgets}/{name}")
    assert (answer["kind"], answer["status"], answer["details"]["name"]) == ("Status", "Success", name)


def test_kubectl_shows_its_columns(cluster: Cluster, widgets: str, name: str) -> None:
    make(cluster, widgets, name, size=7)
    done = {"status": {"conditions": [{"type": "Done", "status": "True"}]}}
    cluster.patch(f"{widgets}/{name}/status", done, "application/merge-patch+json")
    lines = cluster.kubectl("get", f"widgets.{GROUP}", name).splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "STATE"]
    assert lines[1].split() == [name, "7", "True"]
    assert "kind: Widget" in cluster.kubectl("get", f"w{GROUP[:4]}", name, "-o", "yaml")


def test_kubectl_explains_it(cluster: Cluster, widgets: str) -> None:
    def said() -> str:
        return cluster.kubectl("explain", f"widgets.{GROUP}", "--recursive", check=False)

    # A real server works its documents out in the background.
    text = eventually(lambda: said() if "KIND:       Widget" in said() else "")
    assert f"GROUP:      {GROUP}" in text
    for field in ("apiVersion\t<string>", "metadata\t<ObjectMeta>", "size\t<integer>", "name\t<string> -required-"):
        assert field in text, text


def test_kubectl_refuses_unknown_fields_of_it(cluster: Cluster, widgets: str, name: str) -> None:
    body = {"apiVersion": f"{GROUP}/v1", "kind": "Widget", "metadata": {"name": name}}
    said = cluster.kubectl("create", "-f", "-", stdin=json.dumps({**body, "spec": {"seize": 7}}), check=False)
    assert 'strict decoding error: unknown field "spec.seize"' in said
    cluster.kubectl("create", "-f", "-", stdin=json.dumps({**body, "spec": {"free": {"any": 1}}}))


def test_a_definition_that_goes_takes_its_kind_along(cluster: Cluster) -> None:
    group = f"h{uuid.uuid4().hex[:8]}.podium.test"
    names = {"plural": "gears", "kind": "Gear"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    body = {
        "metadata": {"name": f"gears.{group}"},
        "spec": {"group": group, "scope": "Cluster", "names": names, "versions": versions},
    }
    cluster.extensions.create_custom_resource_definition(body)
    path = f"/apis/{group}/v1/gears"
    eventually(lambda: _answers(cluster, path))
    cluster.raw("POST", path, {"apiVersion": f"{group}/v1", "kind": "Gear", "metadata": {"name": "one"}})
    cluster.extensions.delete_custom_resource_definition(f"gears.{group}")
    eventually(lambda: not _answers(cluster, path))
