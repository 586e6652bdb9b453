"""OpenAPI v3 of what is served, for `kubectl explain`.

The schemas of built-in kinds are those of the official Python client's models; of custom kinds, of their definition.
https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-interface-definition
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from include.devcluster.core.objects import Object
from include.devcluster.core.resources import EVENTS, Resource
from include.devcluster.protocol.discovery import VERSION

META = "V1ObjectMeta"
_SCHEMAS = "#/components/schemas/"
_MODEL = re.compile(rf"{_SCHEMAS}client\.(\w+)\.")
_PLAIN: dict[str, Object] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "datetime": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
    "bytes": {"type": "string", "format": "byte"},
    "object": {},
}
_LIST, _MAP = re.compile(r"list\[(.+)\]"), re.compile(r"dict\[str, (.+)\]")


def answer(resources: Collection[Resource], steps: list[str]) -> Object | None:
    """The document below `/openapi/v3`: the index, or that of a group and version; None when there is no such.

    The first one loads the client's models, which takes a second: not to be called where others wait.
    """
    match steps:
        case []:
            paths = {_base(resource, version) for resource in resources for version in resource.versions}
            return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}"} for path in sorted(paths)}}
        case ["api", version]:
            group = ""
        case ["apis", group, version]:
            pass
        case _:
            return None
    found = [r for r in resources if r.group == group and version in r.versions]
    return {
        "openapi": "3.0.0",
        "info": {"title": "Podium dev cluster", "version": VERSION},
        "paths": dict(item for resource in found for item in _paths(resource, version)),
        "components": {"schemas": _schemas(found, version)},
    }


def model_name(resource: Resource) -> str:
    """The client's model of a built-in kind."""
    return "CoreV1Event" if resource is EVENTS else f"V1{resource.kind}"


def _base(resource: Resource, version: str) -> str:
    return f"apis/{resource.group}/{version}" if resource.group else f"api/{version}"


def _paths(resource: Resource, version: str) -> Iterator[tuple[str, Object]]:
    path = f"/{_base(resource, version)}{'/namespaces/{namespace}' if resource.namespaced else ''}/{resource.plural}"
    # kubectl looks for fieldValidation here before it leaves validation to the server.
    parameters = [
        {"name": name, "in": "query", "schema": {"type": "string"}}
        for name in ("dryRun", "fieldManager", "fieldValidation")
    ]
    operation = {
        "x-kubernetes-group-version-kind": _kind(resource, version),
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}},
    }
    yield path, {"post": {**operation, "x-kubernetes-action": "post"}}
    yield f"{path}/{{name}}", {verb: {**operation, "x-kubernetes-action": verb} for verb in ("get", "patch", "put")}


def _kind(resource: Resource, version: str) -> Object:
    return {"group": resource.group, "version": version, "kind": resource.kind}


def _schemas(resources: Iterable[Resource], version: str) -> dict[str, Object]:
    resources = list(resources)
    found = dict(_reachable([META, *(model_name(r) for r in resources if not r.custom)]))
    for resource in resources:
        own = f"{resource.group}.{version}.{resource.kind}" if resource.custom else _key(model_name(resource))
        schema = _custom(resource) if resource.custom else found[own]
        found[own] = {**schema, "x-kubernetes-group-version-kind": [_kind(resource, version)]}
    return found


def _custom(resource: Resource) -> Object:
    """The schema of a definition says nothing of what every object has."""
    pod = _model("V1Pod")["properties"]
    common = {"apiVersion": pod["apiVersion"], "kind": pod["kind"], "metadata": pod["metadata"]}
    return {"type": "object", **resource.schema, "properties": {**(resource.schema.get("properties") or {}), **common}}


def _reachable(names: Iterable[str]) -> dict[str, Object]:
    """Models, and all that they are made of."""
    found: dict[str, Object] = {}
    waiting = list(names)
    while waiting:
        if (key := _key(name := waiting.pop())) not in found:
            found[key] = _model(name)
            waiting += _MODEL.findall(str(found[key]))
    return found


@functools.cache
def _model(name: str) -> Object:
    """The schema of one of the client's models."""
    from kubernetes.client import models

    model: Any = getattr(models, name)
    properties = {
        key: _property(kind, _description(getattr(model, attribute)))
        for attribute, kind in model.openapi_types.items()
        for key in (model.attribute_map[attribute],)
    }
    required = [key for attribute, key in model.attribute_map.items() if _is_required(getattr(model, attribute))]
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


def _property(kind: str, description: str) -> Object:
    made = _type(kind)
    if "$ref" in made:  # beside a reference nothing else counts
        made = {"allOf": [made]}
    return {"description": description, **made}


def _type(kind: str) -> Object:
    if match := _LIST.fullmatch(kind):
        return {"type": "array", "items": _type(match[1])}
    if match := _MAP.fullmatch(kind):
        return {"type": "object", "additionalProperties": _type(match[1])}
    return _PLAIN[kind] if kind in _PLAIN else {"$ref": _ref(kind)}


def _key(name: str) -> str:
    """What a model is called among the schemas; people see what follows the last dot."""
    return f"client.{name}.{re.sub('^(Core)?V1', '', name)}"


def _ref(name: str) -> str:
    return f"{_SCHEMAS}{_key(name)}"


def _description(attribute: property) -> str:
    """What the model says of the attribute: the second paragraph of its documentation."""
    parts = [part.replace("# noqa: E501", "").strip() for part in (attribute.__doc__ or "").split("\n\n")]
    return parts[1] if len(parts) > 2 and not parts[1].startswith(":return:") else ""


def _is_required(attribute: property) -> bool:
    """Whether the model refuses to be without it: only its setter knows."""
    code = getattr(attribute.fset, "__code__", None)
    return any("must not be `None`" in text for text in (code.co_consts if code else ()) if isinstance(text, str))
