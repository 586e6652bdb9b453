"""Patches and field ownership, as functions."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.devcluster.core.errors import ApiError
from include.devcluster.protocol import json_patch, managed, patch

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


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ({"op": "add", "path": "/a/1", "value": 9}, {"a": [1, 9, 2], "b": {"c": 3}}),
        ({"op": "add", "path": "/a/-", "value": 9}, {"a": [1, 2, 9], "b": {"c": 3}}),
        ({"op": "replace", "path": "/b/c", "value": None}, {"a": [1, 2], "b": {"c": None}}),
        ({"op": "move", "from": "/b/c", "path": "/d"}, {"a": [1, 2], "b": {}, "d": 3}),
        ({"op": "copy", "from": "/a", "path": "/b/c"}, {"a": [1, 2], "b": {"c": [1, 2]}}),
        ({"op": "test", "path": "/b", "value": {"c": 3}}, {"a": [1, 2], "b": {"c": 3}}),
    ],
)
def test_operations(operation: dict[str, Any], expected: dict[str, Any]) -> None:
    assert json_patch.apply({"a": [1, 2], "b": {"c": 3}}, [operation]) == expected


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ({"op": "remove", "path": "/x"}, 422),
        ({"op": "add", "path": "/a/5", "value": 1}, 422),
        ({"op": "add", "path": "/x/y", "value": 1}, 422),
        ({"op": "test", "path": "/a", "value": 1}, 422),
        ({"op": "wonder", "path": "/a"}, 400),
        ({"op": "add", "path": "/a"}, 400),
        ({"op": "remove", "path": "a"}, 400),
        ("nothing", 400),
    ],
)
def test_operations_that_cannot_be_done(operation: Any, code: int) -> None:
    with pytest.raises(ApiError) as caught:
        json_patch.apply({"a": [1]}, [operation])
    assert caught.value.code == code


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
    merged = patch.strategic({"containers": CONTAINERS}, {"containers": change})
    assert [(c["name"], c["image"]) for c in merged["containers"]] == expected


def test_strategic_merge_in_a_given_order() -> None:
    change = {"containers": [{"name": "c", "image": "3"}], "$setElementOrder/containers": [{"name": n} for n in "bca"]}
    merged = patch.strategic({"containers": CONTAINERS}, change)
    assert [c["name"] for c in merged["containers"]] == ["b", "c", "a"]


def pod(**fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": {"a": "b"}}, "spec": fields}


def test_fields_are_written_and_read_alike() -> None:
    body = pod(containers=CONTAINERS, nodeSelector={"x": "y"}, tolerations=[{"key": "k"}])
    fields = frozenset(managed.leaves(body))
    assert managed.decode(managed.encode(fields)) == fields
    assert ("f:spec", "f:containers", 'k:{"name":"a"}', "f:image") in fields


def test_items_of_a_list_have_owners_of_their_own() -> None:
    one = managed.apply(None, pod(containers=CONTAINERS[:1]), "one", force=False)
    both = managed.apply(one, pod(containers=CONTAINERS[1:]), "two", force=False)
    assert [c["name"] for c in both["spec"]["containers"]] == ["a", "b"]
    left = managed.apply(both, pod(containers=[]), "one", force=False)
    assert [c["name"] for c in left["spec"]["containers"]] == ["b"]
