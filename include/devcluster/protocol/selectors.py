"""Label selectors of objects, and field selectors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from include.devcluster.core.errors import ApiError, bad_request
from include.devcluster.core.objects import Object, dig, labels
from include.devcluster.protocol import label_selectors


def match_label_selector(selector: Object | None, found: Mapping[str, str]) -> bool:
    """`metav1.LabelSelector`: matchLabels and matchExpressions; None selects nothing, empty everything."""
    if selector is None:
        return False
    wanted = selector.get("matchLabels") or {}
    return all(found.get(key) == value for key, value in wanted.items()) and all(
        match_expression(expression, found) for expression in selector.get("matchExpressions") or []
    )


def match_expression(expression: Object, found: Mapping[str, str]) -> bool:
    """One requirement of a label or node selector (In, NotIn, Exists, DoesNotExist, Gt, Lt)."""
    key, values = expression["key"], expression.get("values") or []
    match expression["operator"]:
        case "In":
            return found.get(key) in values
        case "NotIn":
            return found.get(key) not in values
        case "Exists":
            return key in found
        case "DoesNotExist":
            return key not in found
        case "Gt" | "Lt" as operator:
            try:
                have, limit = int(found.get(key, "")), int(values[0])
            except (ValueError, IndexError):
                return False
            return have > limit if operator == "Gt" else have < limit
    return False


_POD = {
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
}
_EVENT = {
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
}
FIELDS: dict[str, set[str]] = {
    "pods": _POD,
    "events": _EVENT,
    "secrets": {"type"},
    "nodes": {"spec.unschedulable"},
    "namespaces": {"status.phase"},
    "services": {"spec.clusterIP", "spec.type"},
}
"""Fields that a selector may name, beside metadata.name and metadata.namespace."""


def parse_fields(text: str, resource: str) -> Callable[[Object], bool]:
    """Compile a field selector such as `status.phase!=Running,metadata.name=x`. Raises 400 for an unknown field."""
    allowed = FIELDS.get(resource, set()) | {"metadata.name", "metadata.namespace"}
    terms: list[tuple[str, str, str]] = []
    for term in filter(None, re.split(r"(?<!\\),", text)):
        match = re.match(r"^(?P<key>[^=!]+)(?P<op>==|=|!=)(?P<value>.*)$", term)
        if not match:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        if wrong := re.search(r"\\([^\\,=]|$)", match["value"]):
            raise bad_request(f"invalid field selector: invalid escape sequence: {wrong[0]}")
        if match["key"] not in allowed:
            raise unknown_field(match["key"], resource)
        terms.append((match["key"], match["op"], re.sub(r"\\(.)", r"\1", match["value"])))
    return lambda obj: all((_field(obj, key) == value) != (op == "!=") for key, op, value in terms)


def unknown_field(field: str, resource: str) -> ApiError:
    """400 for a field that objects of this resource cannot be selected by."""
    if resource in FIELDS:
        return bad_request(f"field label not supported: {field}")
    return bad_request(f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"')


def _field(obj: Object, path: str) -> str:
    value = dig(obj, path)
    if path == "source":
        value = dig(obj, "source.component")
    if value is None and path == "spec.hostNetwork":
        return "false"
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


class Selection:
    """Which objects of a resource a list, watch or collection delete means."""

    def __init__(self, resource: str, label_selector: str = "", field_selector: str = "") -> None:
        self._labels = label_selectors.parse(label_selector)
        self._fields = parse_fields(field_selector, resource)

    def __contains__(self, obj: Object) -> bool:
        return self._labels(labels(obj)) and self._fields(obj)
