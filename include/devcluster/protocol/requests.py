"""Reads requests: their bodies, and the objects in them as the kind's types have them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import yaml
from aiohttp import web

from include.devcluster.core import errors
from include.devcluster.core.objects import Object
from include.devcluster.kinds import decode, types
from include.devcluster.kinds.decode import DecodeError, Decoder
from include.devcluster.protocol import protobuf, schema
from include.devcluster.protocol.options import WriteOptions
from include.devcluster.protocol.render import Target

JSON = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
_READ = {"application/json", "application/yaml", protobuf.CONTENT_TYPE, "application/octet-stream"}
Typed = Callable[[Object], Object]


async def body(request: web.Request) -> Any:
    """The decoded body: JSON, YAML or protobuf; None when empty. Raises 400 or 415."""
    raw = await request.read()
    if not raw:
        return None
    if request.content_type == protobuf.CONTENT_TYPE:
        return protobuf.decode(raw)
    try:
        if "yaml" in request.content_type and raw.lstrip()[:1] != b"{":
            return yaml.load(raw, Loader=_YamlLoader)
        return json.loads(raw, object_pairs_hook=decode.pairs, parse_float=decode.Number)
    except (ValueError, yaml.YAMLError) as error:
        raise errors.bad_request(f"couldn't get version/kind; json parse error: {_wrong(error)}") from error


def _wrong(error: Exception) -> str:
    """What is wrong with JSON, as Go says it."""
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    if error.pos >= len(error.doc.rstrip()):
        return "unexpected end of JSON input"
    return f"invalid character '{error.doc[error.pos]}' looking for beginning of value"


class _YamlLoader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):  # type: ignore[misc]
    """Leaves times as they are written: JSON has none."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        key: [pair for pair in found if pair[0] != "tag:yaml.org,2002:timestamp"]
        for key, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


async def new_object(request: web.Request, target: Target) -> Object:
    """The object of a create or an update; its kind and version are those of the path. Raises 400 or 415."""
    resource = target.resource
    if request.content_type not in _READ:
        raise errors.unsupported_media(JSON)
    prefix = "" if resource.custom else f"the object provided is unrecognized (must be of type {resource.kind}): "
    try:
        given = await body(request)
    except errors.ApiError as error:
        error.message = error.message if error.code != 400 else prefix + error.message
        raise
    if given is None and not await request.read():
        raise errors.bad_request(
            f"{prefix}couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)"
        )
    obj = {} if given is None else given
    if not isinstance(obj, dict):
        raise errors.bad_request(
            f"{prefix}couldn't get version/kind; json parse error: {type(given).__name__} is no object"
        )
    check_version(obj, target)
    return obj


def check_version(obj: Object, target: Target) -> None:
    """Raises 400 for an object of another kind or version than that of the path."""
    resource, wanted = target.resource, target.resource.at(target.version)
    kind, version = obj.get("kind") or resource.kind, obj.get("apiVersion") or wanted
    if resource.custom:
        if (kind, version) != (resource.kind, wanted):
            raise errors.bad_request(
                f'{resource.kind} in version "{target.version}" cannot be handled as a {resource.kind}: '
                f"the object is a {kind} of {version}"
            )
        return
    if not isinstance(version, str) or not isinstance(kind, str):
        raise errors.bad_request(
            f"the object provided is unrecognized (must be of type {resource.kind}): couldn't get version/kind; "
            "json parse error: apiVersion and kind are texts"
        )
    if version.count("/") > 1:
        raise errors.bad_request(
            f"the object provided is unrecognized (must be of type {resource.kind}): unexpected GroupVersion string: {version}"  # noqa: E501
        )
    said = f'{kind} in version "{version.rpartition("/")[2]}" cannot be handled as a {resource.kind}: '
    if version != wanted or (kind != resource.kind and not types.known(kind.removesuffix("List"))):
        unknown = f'no kind "{kind}" is registered for version "{version}" in scheme "pkg/runtime/scheme.go:110"'
        raise errors.bad_request(said + unknown)
    if kind != resource.kind:
        raise errors.bad_request(f"{said}converting (v1.{kind}) to (core.{resource.kind}): unknown conversion")


def typed(request: web.Request, target: Target, options: WriteOptions) -> Typed:
    """Gives an object its types: nulls and empty fields go, quantities take their stored form, unknown fields are dropped.

    :raises ApiError: 400 from the function, for a value of another type and, with `Strict`, for an unknown field.
    """  # noqa: E501
    resource = target.resource

    def read(obj: Object) -> Object:
        kind = resource.kind
        prefix = f'{kind} in version "{target.version}" cannot be handled as a {kind}: '
        decoder = Decoder()
        try:
            made = schema.typed(obj, resource.schema, decoder) if resource.custom else decoder.object(obj, kind)
        except DecodeError as error:
            raise errors.bad_request(prefix + str(error)) from error
        if decoder.unknown and options.validation == "Strict":
            raise errors.bad_request(f"{prefix}strict decoding error: {', '.join(decoder.unknown)}")
        if isinstance(meta := obj.get("metadata"), dict) and meta.get("managedFields") == []:
            made["metadata"]["managedFields"] = []  # which says: forget who owns what
        if options.validation == "Warn":
            warn(request, *decoder.unknown)
        return made

    return read


def warn(request: web.Request, *texts: str) -> None:
    """Tell the client in the answer's headers."""
    request.setdefault("warnings", []).extend(texts)


def warned(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    """The answer, with what the client is to be told."""
    for text in dict.fromkeys(request.get("warnings", ())):
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        if not answer.prepared:
            answer.headers.add("Warning", f'299 - "{escaped}"')
    return answer
