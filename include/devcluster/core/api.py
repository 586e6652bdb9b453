"""The HTTP side: paths, verbs, content types and who may enter."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from aiohttp import web

from include.devcluster.core import errors, watch
from include.devcluster.core.errors import ApiError
from include.devcluster.core.objects import Object, dig, namespace, uid
from include.devcluster.core.registry import Author, Registry
from include.devcluster.core.resources import CLAIMS, NAMESPACES, PODS, SERVICE_ACCOUNTS, SERVICES
from include.devcluster.kinds import shapes
from include.devcluster.node.exec import Exec
from include.devcluster.node.logs import Logs
from include.devcluster.node.settling import settled
from include.devcluster.protocol import admission, discovery, managed, openapi, options, patching, pods, requests
from include.devcluster.protocol.options import WriteOptions
from include.devcluster.protocol.patching import APPLY, JSON_PATCH, MERGE, STRATEGIC
from include.devcluster.protocol.render import Renderer, Target, page, send
from include.devcluster.protocol.selectors import Selection

log = logging.getLogger(__name__)

_ANSWERED_WITH_OBJECT = (PODS, SERVICES, SERVICE_ACCOUNTS, CLAIMS)
"""What a finished deletion answers with the object; all others with a status."""

_OPEN = {"healthz", "livez", "readyz", "version"}
_PATCHES = (JSON_PATCH, MERGE, STRATEGIC, APPLY)


class Api:
    """Serves the Kubernetes API of one registry."""

    def __init__(self, registry: Registry, logs: Logs, exec_: Exec, token: str) -> None:
        self._registry, self._logs, self._exec, self._token = registry, logs, exec_, token

    def application(self) -> web.Application:
        """The aiohttp application, to be run on one port."""
        app = web.Application(client_max_size=8 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return requests.warned(request, await self._route(request))
        except ApiError as error:
            return requests.warned(request, send(error.status(), error.code))
        except web.HTTPRequestEntityTooLarge:
            return send(
                ApiError(413, "RequestEntityTooLarge", "Request entity too large: limit is 8388608").status(), 413
            )
        except (ConnectionResetError, asyncio.CancelledError):
            raise
        except Exception as error:
            log.exception("%s %s", request.method, request.path)
            message = f"Internal error occurred: {type(error).__name__}: {error}"
            return send(ApiError(500, "InternalError", message).status(), 500)

    def _enter(self, request: web.Request) -> None:
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            raise errors.unauthorized()

    async def _route(self, request: web.Request) -> web.StreamResponse:
        steps = [step for step in request.path.split("/") if step]
        if steps and steps[0] in _OPEN:
            return send(discovery.version()) if steps[0] == "version" else web.Response(text="ok")
        self._enter(request)
        if steps == ["openapi", "v2"]:
            return web.Response(
                body=discovery.openapi_v2(), content_type="application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
            )
        if steps[:2] == ["openapi", "v3"]:
            found = await asyncio.to_thread(openapi.answer, tuple(self._registry.catalogue), steps[2:])
            if found is None:
                raise errors.unknown_path()
            return send(found)
        if document := self._document(steps):
            if request.method not in ("GET", "HEAD"):
                raise errors.not_allowed()
            return send(document)
        if "//" in request.path:
            raise errors.unknown_path()
        if steps[0] not in ("api", "apis") or (
            steps[0] == "apis" and steps[1] not in self._registry.catalogue.groups()
        ):
            return web.Response(text="404 page not found\n", status=404)
        target = self._target(steps)
        if target.name:
            return await self._one(request, target)
        return await self._many(request, target)

    def _document(self, steps: list[str]) -> Object | None:
        """Discovery documents."""
        catalogue = self._registry.catalogue
        match steps:
            case []:
                return {
                    "paths": ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"]
                }
            case ["api"]:
                return discovery.core_versions()
            case ["api", "v1"]:
                return discovery.resources(catalogue, "", "v1")
            case ["apis"]:
                return discovery.groups(catalogue)
            case ["apis", group] if group in catalogue.groups():
                return discovery.group(group, catalogue.groups()[group])
            case ["apis", group, version]:
                return discovery.resources(catalogue, group, version)
        return None

    def _target(self, steps: list[str]) -> Target:
        match steps:
            case ["api", "v1", *rest]:
                group, version = "", "v1"
            case ["apis", group, version, *rest]:
                pass
            case _:
                raise errors.unknown_path()
        space: str | None = None
        if rest[:1] == ["namespaces"] and len(rest) > 2 and not (len(rest) == 3 and rest[2] in ("status", "finalize")):
            space, rest = rest[1], rest[2:]
        if not 1 <= len(rest) <= 3:
            raise errors.unknown_path()
        resource = self._registry.catalogue.find(group, version, rest[0])
        if resource is None or (space is not None and not resource.namespaced):
            raise errors.unknown_path()
        own, subresource = [*rest[1:], "", ""][:2]
        if own and resource.namespaced and space is None:
            raise errors.unknown_path()
        return Target(resource, version, space if resource.namespaced else "", own, subresource)

    async def _many(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Verbs on a collection."""
        query, resource = request.query, target.resource
        store = self._registry.store
        if request.method == "POST":
            return await self._create(request, target)
        selection = Selection(resource.key, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        space = target.space if resource.namespaced else None
        if request.method == "GET":
            options.listing(query, watch=options.is_true(query, "watch"))
        if request.method == "GET" and options.is_true(query, "watch"):
            render = Renderer(request, target)
            return await watch.serve(request, store, resource, space, selection, render.event)
        if request.method == "GET":
            options.at_version(query, store.revision)
            found = [o for o in store.list(resource.key, space) if o in selection]
            found, meta = page(found, query.get("limit", ""), query.get("continue", ""), store.revision)
            if query.get("labelSelector") or query.get("fieldSelector"):
                meta.pop("remainingItemCount", None)  # nobody has counted what else matches
            return Renderer(request, target).list(found, meta)
        if request.method == "DELETE":
            if space is None and resource.namespaced:
                raise errors.not_allowed()
            if not resource.collection:
                raise errors.not_allowed()
            asked = options.deletion(await patching.body(request), query)
            found = [o for o in store.list(resource.key, space) if o in selection]
            for obj in found:
                self._registry.delete(resource, namespace(obj), obj["metadata"]["name"], asked)
            return Renderer(request, target).list(found, {"resourceVersion": str(store.revision)})
        raise errors.not_allowed()

    async def _create(self, request: web.Request, target: Target) -> web.StreamResponse:
        if target.resource.namespaced and target.space is None:
            raise errors.not_allowed()
        asked = options.write(request.query, "CreateOptions")
        obj = requests.typed(request, target, asked)(await requests.new_object(request, target))
        created = self._registry.create(
            target.resource, target.space or "", obj, _author(request, asked), dry_run=asked.dry
        )
        requests.warn(request, *admission.warnings(target.resource, created))
        if target.resource is PODS and not asked.dry:
            await settled(self._registry.store, created)
        return Renderer(request, target).one(created, 201)

    async def _one(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Verbs on one object or its sub-resources."""
        resource, registry = target.resource, self._registry
        if target.subresource and not (target.subresource == "status" and resource.status):
            return await self._subresource(request, target)
        match request.method:
            case "GET":
                options.version(request.query)
                return Renderer(request, target).one(registry.get(resource, target.space or "", target.name))
            case "PUT":
                asked = options.write(request.query, "UpdateOptions")
                body = requests.typed(request, target, asked)(await requests.new_object(request, target))
                if not dig(body, "metadata.name"):
                    raise errors.bad_request(
                        f"the name of the object ({target.name} based on URL) was undeterminable: name must be provided"
                    )
                if resource.versioned and not dig(body, "metadata.resourceVersion"):
                    raise errors.invalid(
                        resource.plural, target.name,
                        ("metadata.resourceVersion", "Invalid value: 0: must be specified for an update"),
                        group=resource.group,
                    )  # fmt: skip
                return self._write(request, target, asked, lambda _: body)
            case "PATCH":
                return await self._patch(request, target)
            case "DELETE":
                how = options.deletion(await patching.body(request), request.query)
                obj, is_gone = registry.delete(resource, target.space or "", target.name, how)
                if is_gone and resource not in _ANSWERED_WITH_OBJECT:
                    return send(errors.success(resource.plural, resource.group, target.name, uid(obj)))
                return Renderer(request, target).one(obj)
        raise errors.not_allowed()

    def _write(
        self, request: web.Request, target: Target, asked: WriteOptions, change: Callable[[Object], Object],
        operation: str = "Update",
    ) -> web.Response:  # fmt: skip
        obj = self._registry.update(
            target.resource, target.space or "", target.name, change, _author(request, asked, operation),
            subresource=target.subresource, dry_run=asked.dry, is_patch=request.method == "PATCH",
        )  # fmt: skip
        return Renderer(request, target).one(obj)

    async def _patch(self, request: web.Request, target: Target) -> web.StreamResponse:
        kind, resource = request.content_type, target.resource
        known = [name for name in _PATCHES if name != STRATEGIC or not resource.custom]
        if kind not in known:
            if kind != STRATEGIC:
                raise ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
            raise errors.unsupported_media(", ".join(known))
        asked = options.write(request.query, "PatchOptions", is_apply=kind == APPLY)
        body = await patching.body(request)
        if kind == APPLY:
            return await self._apply(request, target, asked, body)
        typed = requests.typed(request, target, asked)
        versioned = Renderer(request, target).versioned

        def change(old: Object) -> Object:
            return patching.patched(versioned(old), body, kind, resource.kind, typed)

        return self._write(request, target, asked, change)

    async def _apply(
        self, request: web.Request, target: Target, asked: WriteOptions, config: Any
    ) -> web.StreamResponse:
        """Server-side apply, which creates what is not there."""
        resource, store, space = target.resource, self._registry.store, target.space or ""
        patching.check_configuration(config, target)
        config = {**config, "apiVersion": resource.api_version}
        author = managed.Writer(asked.manager, "Apply", target.subresource)
        typed, shape = requests.typed(request, target, replace(asked, validation="Ignore")), shapes.of(resource)

        def applied(old: Object) -> Object:
            made = managed.apply(old, config, author, shape, force=asked.force)
            return patching.converted(made, typed, target)

        if store.get(resource.key, space, target.name) is None:
            if target.subresource:
                raise errors.not_found(resource.key, target.name)
            blank = {"apiVersion": config["apiVersion"], "kind": resource.kind, "metadata": {"name": target.name}}
            patching.check_new(config, resource)
            new = applied(blank)
            new["metadata"].pop("resourceVersion", None)
            by = Author(asked.manager, "Apply")
            created = self._registry.create(resource, space, new, by, dry_run=asked.dry)
            if resource is PODS and not asked.dry:
                await settled(self._registry.store, created)
            return Renderer(request, target).one(created, 201)
        return self._write(request, target, asked, applied, "Apply")

    async def _subresource(self, request: web.Request, target: Target) -> web.StreamResponse:  # noqa: C901
        registry, space = self._registry, target.space or ""
        if target.resource is NAMESPACES and target.subresource == "finalize" and request.method == "PUT":
            return send(registry.get(NAMESPACES, "", target.name))
        if target.resource is not PODS:
            raise errors.unknown_path()
        pod = registry.get(PODS, space, target.name)
        match target.subresource, request.method:
            case "log", "GET":
                options.log(request.query, target.name)
                if not pod["spec"].get("nodeName"):
                    names = [c["name"] for c in pods.containers(pod["spec"])]
                    if (wanted := request.query.get("container")) and wanted not in names:
                        raise errors.bad_request(f"container {wanted} is not valid for pod {target.name}")
                    return web.Response(status=204)
                return await self._logs.serve(request, pod)
            case "exec", "GET" | "POST":
                return await self._exec.serve(request, pod)
            case "binding", "POST":
                if pod["spec"].get("nodeName"):
                    raise errors.conflict(
                        PODS.key,
                        target.name,
                        f"pod {target.name} is already assigned to node {pod['spec']['nodeName']}",
                    )
                node = dig(await requests.body(request), "target.name")
                if not node:
                    raise errors.internal("target.name: Required value")
                registry.bind(pod, lambda obj: {**obj, "spec": {**obj["spec"], "nodeName": node}})
                return send(
                    {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, 201
                )
            case "eviction", "POST":
                body = await requests.body(request)
                registry.delete(
                    PODS, space, target.name, options.deletion((body or {}).get("deleteOptions"), request.query)
                )
                return send(
                    {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, 201
                )
            case ("attach" | "portforward" | "proxy" | "ephemeralcontainers" | "resize") as other, _:
                raise errors.not_served(f"pods/{other}. {_INSTEAD[other]}")
        raise errors.unknown_path()


_INSTEAD = {
    "attach": "Read the output with `kubectl logs -f`, or start a process with `kubectl exec`.",
    "portforward": "Connect to the address in status.podIP: it is one of this machine's loopback addresses.",
    "proxy": "Connect to the address in status.podIP: it is one of this machine's loopback addresses.",
    "ephemeralcontainers": "Start a process in the container with `kubectl exec`.",
    "resize": "Resources are counted, not enforced: create the pod anew with other requests.",
}


def _author(request: web.Request, asked: WriteOptions, operation: str = "Update") -> Author:
    agent = request.headers.get("User-Agent", "unknown").partition("/")[0]
    return Author(asked.manager or agent, operation)
