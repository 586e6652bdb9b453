"""Label and field selectors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from include.devcluster.core.errors import ApiError, bad_request
from include.devcluster.core.objects import Object, dig, labels

_SET = re.compile(r"^(?P<key>[^\s!=]+)\s+(?P<op>in|notin)\s*\((?P<values>[^)]*)\)$")
_EQUAL = re.compile(r"^(?P<key>[^\s!=]+)\s*(?P<op>==|=|!=)\s*(?P<value>\S*)$")
_EXISTS = re.compile(r"^(?P<not>!?)\s*(?P<key>[A-Za-z0-9][\w./-]*)$")

Test = Callable[[Mapping[str, str]], bool]


def parse_labels(text: str) -> Test:
    """Compile a label selector such as `app=shop,tier in (a, b),!canary`. Raises 400."""
    tests = [_label_test(term.strip(), text) for term in re.split(r",(?![^(]*\))", text) if term.strip()]
    return lambda found: all(test(found) for test in tests)


def _label_test(term: str, whole: str) -> Test:
    if match := _SET.match(term):
        key, wanted = match["key"], {value.strip() for value in match["values"].split(",")}
        # as the real one: notin also selects objects without the label
        return (lambda found: found.get(key) in wanted) if match["op"] == "in" else (lambda f: f.get(key) not in wanted)
    if match := _EQUAL.match(term):
        key, value = match["key"], match["value"]
        return (lambda found: found.get(key) != value) if match["op"] == "!=" else (lambda f: f.get(key) == value)
    if match := _EXISTS.match(term):
        key = match["key"]
        return (lambda found: key not in found) if match["not"] else (lambda found: key in found)
    raise bad_request(f'unable to parse requirement: found "{term}" in label selector "{whole}"')


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
}
"""Fields that a selector may name, beside metadata.name and metadata.namespace."""


def parse_fields(text: str, resource: str) -> Callable[[Object], bool]:
    """Compile a field selector such as `status.phase!=Running,metadata.name=x`. Raises 400 for an unknown field."""
    allowed = FIELDS.get(resource, set()) | {"metadata.name", "metadata.namespace"}
    terms: list[tuple[str, str, str]] = []
    for term in filter(None, (part.strip() for part in text.split(","))):
        match = re.match(r"^(?P<key>[^=!]+)(?P<op>==|=|!=)(?P<value>.*)$", term)
        if not match:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        if match["key"] not in allowed:
            raise unknown_field(match["key"])
        terms.append((match["key"], match["op"], match["value"]))
    return lambda obj: all((_field(obj, key) == value) != (op == "!=") for key, op, value in terms)


def unknown_field(field: str) -> ApiError:
    """400 for a field that objects of this resource cannot be selected by."""
    return bad_request(f"field label not supported: {field}")


def _field(obj: Object, path: str) -> str:
    value = dig(obj, path)
    if path == "source":
        value = dig(obj, "source.component")
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


class Selection:
    """Which objects of a resource a list, watch or collection delete means."""

    def __init__(self, resource: str, label_selector: str = "", field_selector: str = "") -> None:
        self._labels = parse_labels(label_selector)
        self._fields = parse_fields(field_selector, resource)

    def __contains__(self, obj: Object) -> bool:
        return self._labels(labels(obj)) and self._fields(obj)
