"""Reads requests: their bodies, what a deletion asks for, how strictly an object is to be looked at."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import yaml
from aiohttp import web

from include.devcluster.core import errors
from include.devcluster.core.deletion import DeleteOptions
from include.devcluster.core.objects import Object
from include.devcluster.protocol import openapi, protobuf
from include.devcluster.protocol.render import Target


async def body(request: web.Request) -> Any:
    """The decoded body: JSON, YAML or protobuf; {} when empty. Raises 400 or 415."""
    raw = await request.read()
    if not raw:
        return {}
    if request.content_type == protobuf.CONTENT_TYPE:
        return protobuf.decode(raw)
    try:
        return yaml.safe_load(raw) if "yaml" in request.content_type and raw.lstrip()[:1] != b"{" else json.loads(raw)
    except (ValueError, yaml.YAMLError) as error:
        raise errors.bad_request(f"error decoding the body of the request: {error}") from error


def check_version(body: Any, target: Target) -> None:
    """Raises 400 for what is no object, or one of another version than that of the path."""
    wanted = target.resource.at(target.version)
    if not isinstance(body, dict):
        raise errors.bad_request("the body of the request is not an object")
    if body.get("apiVersion") not in (None, "", wanted):
        raise errors.bad_request(
            f"the API version in the data ({body['apiVersion']}) does not match the expected API version ({wanted})"
        )


async def strictness(request: web.Request, target: Target) -> Callable[[Object], Object]:
    """What an object that is to be written goes through: with `fieldValidation=Strict` unknown fields are refused."""
    if request.query.get("fieldValidation") != "Strict":
        return lambda obj: obj
    fields = await asyncio.to_thread(openapi.fields, target.resource)

    def check(obj: Object) -> Object:
        if unknown := fields.unknown(obj):
            kind, version = target.resource.kind, target.version
            listed = ", ".join(f'unknown field "{path}"' for path in unknown)
            prefix = "" if target.resource.custom else f'{kind} in version "{version}" cannot be handled as a {kind}: '
            raise errors.bad_request(f"{prefix}strict decoding error: {listed}")
        return obj

    return check


def delete_options(body: Object, request: web.Request) -> DeleteOptions:
    """From the body and, where that is silent, the query."""
    query = request.query
    grace = body.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
    propagation = body.get("propagationPolicy") or query.get("propagationPolicy")
    orphan = body.get("orphanDependents", query.get("orphanDependents"))
    if propagation is None and orphan is not None:
        propagation = "Orphan" if orphan in (True, "true") else "Background"
    if grace is not None and not str(grace).lstrip("-").isdigit():
        raise errors.bad_request(f'gracePeriodSeconds: Invalid value: "{grace}": must be a number of seconds')
    preconditions = body.get("preconditions") or {}
    return DeleteOptions(
        grace=None if grace is None else int(grace),
        propagation=propagation,
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
        dry_run=bool(body.get("dryRun")) or "dryRun" in query,
    )
