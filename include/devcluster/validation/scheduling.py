"""Rules of what says where a pod may run: selectors, affinity, tolerations, spread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from include.devcluster.validation import formats
from include.devcluster.validation.rules import (
    Cause,
    Place,
    Table,
    forbidden,
    invalid,
    labels,
    missing,
    unsupported,
)  # fmt: skip

_NODE_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def requirement(operators: tuple[str, ...]) -> Any:
    """One expression of a selector, with the values that its operator needs."""

    def rule(value: Any, at: Place) -> Iterator[Cause]:
        operator, values, key = value.get("operator") or "", value.get("values") or [], value.get("key") or ""
        where = at.child("values")
        if operator not in operators:
            yield invalid(at.child("operator"), operator, "not a valid selector operator")
        elif operator in ("In", "NotIn") and not values:
            yield missing(where, "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist") and values:
            yield forbidden(where, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
        elif operator in ("Gt", "Lt") and len(values) != 1:
            yield missing(where, "must be specified single value when `operator` is 'Lt' or 'Gt'")
        yield from (invalid(at.child("key"), key, wrong) for wrong in formats.qualified_name(key))

    return rule


def _node_fields(value: Any, at: Place) -> Iterator[Cause]:
    for place, term in enumerate(value or []):
        if term.get("key") != "metadata.name":
            yield invalid(f"{at.path}[{place}].key", term.get("key") or "", "not a valid field selector key")
        elif term.get("operator") not in ("In", "NotIn"):
            yield invalid(f"{at.path}[{place}].operator", term.get("operator") or "", "not a valid selector operator")


def _node_terms(value: Any, at: Place) -> Iterator[Cause]:
    """Expressions about nodes know more operators than those of labels; the struct is the same everywhere else."""
    for place, term in enumerate(value or []):
        yield from requirement(_NODE_OPERATORS)(term, Place(f"{at.path}[{place}]", at.parents))


def _weight(value: Any, at: Place) -> Iterator[Cause]:
    if not 1 <= (value or 0) <= 100:
        yield invalid(at.path, value or 0, "must be in the range 1-100")


def _toleration(value: Any, at: Place) -> Iterator[Cause]:
    key, operator, text = value.get("key") or "", value.get("operator") or "", value.get("value") or ""
    effect, where = value.get("effect") or "", at.child("operator")
    if key:
        yield from (invalid(at.child("key"), key, wrong) for wrong in formats.qualified_name(key))
    elif operator != "Exists":
        text_ = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        yield invalid(where, operator, text_)
    if value.get("tolerationSeconds") is not None and effect != "NoExecute":
        yield invalid(at.child("effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
    if operator in ("Equal", ""):
        yield from (invalid(where, text, wrong) for wrong in formats.label_value(text))
    elif operator == "Exists":
        if text:
            yield invalid(where, text, "value must be empty when `operator` is 'Exists'")
    else:
        yield unsupported(where, operator, ("Equal", "Exists"))
    if effect and effect not in _EFFECTS:
        yield unsupported(at.child("effect"), effect, _EFFECTS)


def _topology(value: Any, at: Place) -> Iterator[Cause]:
    if not value:
        yield missing(at.path, "can not be empty")
    yield from (invalid(at.path, value or "", wrong) for wrong in formats.qualified_name(value or ""))


def _spread(value: Any, at: Place) -> Iterator[Cause]:
    if (value.get("maxSkew") or 0) <= 0:
        yield invalid(at.child("maxSkew"), value.get("maxSkew") or 0, "must be greater than zero")
    key = value.get("topologyKey") or ""
    if not key:
        yield missing(at.child("topologyKey"), "can not be empty")
    else:
        yield from (invalid(at.child("topologyKey"), key, wrong) for wrong in formats.qualified_name(key))
    when, supported = value.get("whenUnsatisfiable") or "", ("DoNotSchedule", "ScheduleAnyway")
    if when not in supported:
        yield unsupported(at.child("whenUnsatisfiable"), when, supported)


def _namespaces(value: Any, at: Place) -> Iterator[Cause]:
    for name in value or []:
        yield from (invalid(at.path.removesuffix("s"), name, wrong) for wrong in formats.dns_label(name))


def _terms(value: Any, at: Place) -> Iterator[Cause]:
    if not value:
        yield missing(at.path, "must have at least one node selector term")


TABLE: Table = {
    "NodeSelector": {"nodeSelectorTerms": [_terms]},
    "NodeSelectorTerm": {"matchExpressions": [_node_terms], "matchFields": [_node_fields]},
    "PreferredSchedulingTerm": {"weight": [_weight]},
    "WeightedPodAffinityTerm": {"weight": [_weight]},
    "PodAffinityTerm": {"topologyKey": [_topology], "namespaces": [_namespaces]},
    "LabelSelector": {"matchLabels": [labels]},
    "LabelSelectorRequirement": {"": [requirement(("In", "NotIn", "Exists", "DoesNotExist"))]},
    "Toleration": {"": [_toleration]},
    "TopologySpreadConstraint": {"": [_spread]},
}
