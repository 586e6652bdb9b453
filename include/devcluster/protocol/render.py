"""Answers in the shape that a client asks for: the object, its metadata alone, or a table."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

import yaml
from aiohttp import web

from include.devcluster.core import errors
from include.devcluster.core.errors import ApiError
from include.devcluster.core.objects import Object
from include.devcluster.core.resources import Resource
from include.devcluster.protocol import options, table

_TYPES = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
_SHAPES = {"Table": "table", "PartialObjectMetadata": "metadata", "PartialObjectMetadataList": "metadata list"}


def _wanted(accept: str, types: str) -> tuple[str, bool]:
    """The shape and whether it is YAML, by an Accept header. Raises 406 when nothing in it can be given."""
    is_understood = False
    for wish in (accept or "*/*").split(","):
        kind, *parameters = (part.strip() for part in wish.split(";"))
        if kind not in ("application/json", "application/yaml", "*/*"):
            continue
        is_understood = True
        shape = next((part.removeprefix("as=") for part in parameters if part.startswith("as=")), "")
        if not shape or shape in _SHAPES:
            return _SHAPES.get(shape, "object"), kind == "application/yaml"
    if is_understood:
        raise errors.not_acceptable(f"only the following media types are accepted: {_TYPES}")
    if "application/vnd.kubernetes.protobuf" in accept:
        return "object", False  # JSON is what such clients read, too
    raise ApiError(406, "NotAcceptable", f"406: Not Acceptable\n\nAvailable representations: {types}", {})


@dataclass(frozen=True)
class Target:
    """What a path means. `space` is None for a list over all namespaces."""

    resource: Resource
    version: str
    space: str | None
    name: str
    subresource: str


class Renderer:
    """Writes answers in the shape that the Accept header asks for: the object, its metadata, or a table."""

    def __init__(self, request: web.Request, target: Target) -> None:
        self._target = target
        self._shape, self._yaml = _wanted(
            request.headers.get("Accept", ""),
            _TYPES
            if target.name
            else f"{_TYPES}, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch",
        )
        self._include = request.query.get("includeObject", "Metadata")
        self._header_sent = False

    def versioned(self, obj: Object) -> Object:
        """The object with the apiVersion of the path."""
        wanted = self._target.resource.at(self._target.version)
        return obj if obj["apiVersion"] == wanted else {**obj, "apiVersion": wanted}

    def _render(self, obj: Object) -> Object:
        if self._shape.startswith("metadata"):
            return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}
        return self.versioned(obj)

    def _send(self, body: Object, code: int = 200) -> web.Response:
        if self._yaml:
            return web.Response(text=yaml.safe_dump(body), status=code, content_type="application/yaml")
        return send(body, code)

    def one(self, obj: Object, code: int = 200) -> web.Response:
        """Answer with one object."""
        if self._shape == "metadata list":
            kind = f"*core.{self._target.resource.kind}"
            text = "you requested PartialObjectMetadataList, but the requested object is not a list"
            raise errors.not_acceptable(f"{text} ({kind})")
        if self._shape == "table":
            meta = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            return self._send(table.make(self._target.resource, [obj], meta, self._include), code)
        return self._send(self._render(obj), code)

    def list(self, found: list[Object], meta: Object) -> web.Response:
        """Answer with a list; `meta` is its `metav1.ListMeta`."""
        resource = self._target.resource
        if self._shape == "table":
            return self._send(table.make(resource, found, meta, self._include))
        if self._shape == "metadata":
            kind = f"*core.{resource.kind}List"
            text = "you requested PartialObjectMetadata, but the requested object is a list"
            raise errors.not_acceptable(f"{text} ({kind})")
        items = [self._render(obj) for obj in found]
        if self._shape == "metadata list":
            return self._send(
                {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "items": items}
            )
        if not resource.custom:  # as the real one: items of built-in lists carry no kind
            items = [{k: v for k, v in item.items() if k not in ("kind", "apiVersion")} for item in items]
        api_version = resource.at(self._target.version)
        return self._send({"kind": f"{resource.kind}List", "apiVersion": api_version, "metadata": meta, "items": items})

    def event(self, obj: Object) -> Object:
        """The object of a watch event; the columns of a table come with the first one only."""
        if self._shape != "table":
            return self._render(obj)
        meta = {"resourceVersion": obj["metadata"]["resourceVersion"]}
        made = table.make(self._target.resource, [obj], meta, self._include)
        if self._header_sent:
            made["columnDefinitions"] = None
        self._header_sent = True
        return made


def send(body: Object, code: int = 200) -> web.Response:
    """Answer with a document."""
    return web.Response(
        body=json.dumps(body, separators=(",", ":")).encode(), status=code, content_type="application/json"
    )


def page(found: list[Object], limit: str, token: str, revision: int) -> tuple[list[Object], Object]:
    """One page of a list. The token holds the revision of the first page and where the next one starts."""
    start = 0
    if token:
        try:
            revision, start = json.loads(base64.urlsafe_b64decode(token))
        except ValueError as error:
            raise errors.bad_request(
                "invalid continue token: continue key is not valid: illegal base64 data at input byte 0"
            ) from error
    meta: Object = {"resourceVersion": str(revision)}
    size = options.number(limit or "0")
    if size <= 0 or start + size >= len(found):
        return found[start:], meta
    following = json.dumps([revision, start + size]).encode()
    meta |= {"continue": base64.urlsafe_b64encode(following).decode(), "remainingItemCount": len(found) - start - size}
    return found[start : start + size], meta
