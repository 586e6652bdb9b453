"""Answers in the shape that a client asks for: the object, its metadata alone, or a table."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from aiohttp import web

from include.devcluster.core import errors
from include.devcluster.core.objects import Object
from include.devcluster.core.resources import Resource
from include.devcluster.protocol import table


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
        accept = request.headers.get("Accept", "")
        self._shape = "object"
        for wish in accept.split(","):
            if "application/json" in wish or "*/*" in wish:
                if "as=Table" in wish:
                    self._shape = "table"
                elif "as=PartialObjectMetadata" in wish:
                    self._shape = "metadata"
                break
        self._include = request.query.get("includeObject", "Metadata")
        self._header_sent = False

    def _versioned(self, obj: Object) -> Object:
        wanted = self._target.resource.at(self._target.version)
        return obj if obj["apiVersion"] == wanted else {**obj, "apiVersion": wanted}

    def _render(self, obj: Object) -> Object:
        if self._shape == "metadata":
            return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}
        return self._versioned(obj)

    def one(self, obj: Object, code: int = 200) -> web.Response:
        """Answer with one object."""
        if self._shape == "table":
            meta = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            return send(table.make(self._target.resource, [obj], meta, self._include), code)
        return send(self._render(obj), code)

    def list(self, found: list[Object], meta: Object) -> web.Response:
        """Answer with a list; `meta` is its `metav1.ListMeta`."""
        resource = self._target.resource
        if self._shape == "table":
            return send(table.make(resource, found, meta, self._include))
        items = [self._render(obj) for obj in found]
        if self._shape == "metadata":
            return send(
                {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "items": items}
            )
        if not resource.custom:  # as the real one: items of built-in lists carry no kind
            items = [{k: v for k, v in item.items() if k not in ("kind", "apiVersion")} for item in items]
        api_version = resource.at(self._target.version)
        return send({"kind": f"{resource.kind}List", "apiVersion": api_version, "metadata": meta, "items": items})

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
            raise errors.bad_request(f"continue key is not valid: {error}") from error
    meta: Object = {"resourceVersion": str(revision)}
    if limit and not limit.isdigit():
        raise errors.bad_request(f'limit: Invalid value: "{limit}": must be a number of 0 or more')
    size = int(limit or 0)
    if size <= 0 or start + size >= len(found):
        return found[start:], meta
    following = json.dumps([revision, start + size]).encode()
    meta |= {"continue": base64.urlsafe_b64encode(following).decode(), "remainingItemCount": len(found) - start - size}
    return found[start : start + size], meta
