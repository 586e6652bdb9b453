"""Patches of every kind: their bodies, and what they make of an object."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from include.devcluster.core import errors
from include.devcluster.core.errors import ApiError
from include.devcluster.core.objects import Object
from include.devcluster.core.resources import Resource
from include.devcluster.protocol import json_patch, patch, requests
from include.devcluster.protocol.render import Target
from include.devcluster.protocol.requests import Typed

JSON_PATCH, MERGE = "application/json-patch+json", "application/merge-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"


async def body(request: web.Request) -> Any:
    """The decoded body of a patch or a deletion; None when empty. Raises 400, or 500 for a deletion."""
    try:
        return await requests.body(request)
    except ApiError as error:
        if request.method == "DELETE" and error.code == 400:
            raise errors.internal(error.message) from error
        start = {APPLY: "error decoding YAML: ", STRATEGIC: ""}.get(request.content_type, "error decoding patch: ")
        error.message = start + error.message.rpartition("json parse error: ")[2]
        raise


def patched(obj: Object, body: Any, content: str, kind: str, typed: Typed) -> Object:
    """The object with a JSON, merge or strategic merge patch. Raises 400, 422 and 500."""
    if content == JSON_PATCH:
        made = json_patch.apply(obj, body)
    elif not isinstance(body, dict):
        start = "error decoding patch: " if content == MERGE else ""
        wrong = f"json: cannot unmarshal {json_patch.type_name(body)} into Go value of type map[string]interface {{}}"
        raise errors.bad_request(start + ("unexpected end of JSON input" if body is None else wrong))
    else:
        made = patch.merge(obj, body) if content == MERGE else patch.strategic(obj, body, kind)
    made = {**made, "kind": made.get("kind") or obj["kind"], "apiVersion": made.get("apiVersion") or obj["apiVersion"]}
    if (made["kind"], made["apiVersion"]) != (obj["kind"], obj["apiVersion"]):
        unknown = f'no kind "{made.get("kind")}" is registered for version "{made.get("apiVersion")}"'
        raise patch.unfit(made, f'{unknown} in scheme "pkg/runtime/scheme.go:110"')
    try:
        return typed(made)
    except ApiError as error:
        raise patch.unfit(made, error.message.partition(": ")[2]) from error


def check_configuration(config: Any, target: Target) -> None:
    """Raises 400 for a configuration that server-side apply cannot mean for this object, and fills in its name."""
    if not isinstance(config, dict):
        raise errors.bad_request(f"error decoding YAML: {config!r} is no object")
    resource = target.resource
    wanted = resource.at(target.version)
    version, kind = config.get("apiVersion") or "", config.get("kind") or ""
    if (kind, version) != (resource.kind, wanted):
        raise errors.bad_request(f"invalid object type: {version if '/' in version else '/' + version}, Kind={kind}")
    meta = config.setdefault("metadata", {})
    if meta.get("managedFields") is not None:
        raise errors.bad_request("metadata.managedFields must be nil")
    if not meta.get("name"):
        raise errors.bad_request(
            f"the name of the object ({target.name} based on URL) was undeterminable: name must be provided"
        )
    if meta["name"] != target.name:
        raise errors.bad_request(
            f"the name of the object ({meta['name']}) does not match the name on the URL ({target.name})"
        )


def check_new(config: Object, resource: Resource) -> None:
    """Raises 422 for a configuration of an object that is not there any more."""
    if given := config["metadata"].get("uid"):
        cause = ("metadata.uid", f'Invalid value: "{given}": field is immutable')
        raise errors.invalid(resource.kind, config["metadata"]["name"], cause, group=resource.group)


def converted(obj: Object, typed: Typed, target: Target) -> Object:
    """An applied object with its types. Raises 500 when it has none."""
    try:
        return typed(obj)
    except ApiError as error:
        version = obj["apiVersion"] if "/" in obj["apiVersion"] else f"/{obj['apiVersion']}"
        meta = obj["metadata"]
        where = f"/{meta['name']}; {version}, Kind={obj['kind']}"
        raise errors.internal(
            f"failed to convert new object ({where}) to proper version: unable to convert unstructured object to {version}, "  # noqa: E501
            f"Kind={obj['kind']}: error decoding from json: {error.message.partition(': ')[2]}"
        ) from error
