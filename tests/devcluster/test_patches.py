"""Patches and field ownership, as functions of the dev cluster: properties, and what no request to a cluster shows.

A real cluster has no such functions to call; what requests do, on either, stands in test_objects.py and test_custom.py.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.devcluster.kinds import shapes
from include.devcluster.protocol import fieldsets, json_patch, managed, patch

pytestmark = pytest.mark.dev_only

keys = st.text("abc~/", min_size=1, max_size=3)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("xyz", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(keys, values, max_size=4)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return value


@given(objects, objects)
def test_a_merge_patch_leaves_its_arguments_alone_and_takes_effect_once(base: Any, change: Any) -> None:
    before = copy.deepcopy((base, change))
    once = patch.merge(base, change)
    assert (base, change) == before
    assert patch.merge(once, change) == once


@given(objects)
def test_a_merge_patch_on_nothing_is_the_patch_without_its_nulls(change: Any) -> None:
    assert patch.merge({}, change) == without_nulls(change)


@given(objects, keys, values)
def test_add_then_remove_is_where_it_began(base: Any, key: str, value: Any) -> None:
    base.pop(key, None)
    pointer = "/" + key.replace("~", "~0").replace("/", "~1")
    added = json_patch.apply(base, [{"op": "add", "path": pointer, "value": value}])
    assert added[key] == value
    assert json_patch.apply(added, [{"op": "remove", "path": pointer}]) == base


POD = shapes.struct("Pod")
CONTAINERS = [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ([{"name": "b", "image": "9"}], [("a", "1"), ("b", "9")]),
        ([{"name": "c", "image": "3"}], [("c", "3"), ("a", "1"), ("b", "2")]),
        ([{"name": "a", "$patch": "delete"}], [("b", "2")]),
        ([{"$patch": "replace"}, {"name": "c", "image": "3"}], [("c", "3")]),
    ],
)
def test_strategic_merge_of_containers(change: list[Any], expected: list[tuple[str, str]]) -> None:
    merged = patch.strategic({"containers": CONTAINERS}, {"containers": change}, "PodSpec")
    assert [(c["name"], c["image"]) for c in merged["containers"]] == expected


def test_strategic_merge_in_a_given_order() -> None:
    change = {"containers": [{"name": "c", "image": "3"}], "$setElementOrder/containers": [{"name": n} for n in "bca"]}
    merged = patch.strategic({"containers": CONTAINERS}, change, "PodSpec")
    assert [c["name"] for c in merged["containers"]] == ["b", "c", "a"]


def pod(**fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": {"a": "b"}}, "spec": fields}


def applied(current: dict[str, Any], manager: str, **fields: Any) -> dict[str, Any]:
    return managed.apply(current, pod(**fields), managed.Writer(manager, "Apply"), POD, force=False)


def test_fields_are_written_and_read_alike() -> None:
    body = pod(containers=CONTAINERS, nodeSelector={"x": "y"}, tolerations=[{"key": "k"}])
    fields = fieldsets.fields_of(body, POD)
    assert fieldsets.decode(fieldsets.encode(fields)) == fields
    assert ("f:spec", "f:containers", 'k:{"name":"a"}', "f:image") in fields


def test_items_of_a_list_have_owners_of_their_own() -> None:
    one = applied({**pod(), "spec": {}}, "one", containers=CONTAINERS[:1])
    both = applied(one, "two", containers=CONTAINERS[1:])
    assert [c["name"] for c in both["spec"]["containers"]] == ["a", "b"]
    left = applied(both, "one")
    assert [c["name"] for c in left["spec"]["containers"]] == ["b"]
