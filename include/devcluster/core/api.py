"""The HTTP side: paths, verbs, content types and who may enter."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable
from typing import Any

from aiohttp import web

from include.devcluster.core import errors, watch
from include.devcluster.core.errors import ApiError
from include.devcluster.core.objects import Object, condition, dig, namespace, uid
from include.devcluster.core.registry import Author, Registry
from include.devcluster.core.resources import NAMESPACES, PODS
from include.devcluster.node.exec import Exec
from include.devcluster.node.logs import Logs
from include.devcluster.protocol import discovery, json_patch, managed, openapi, patch, requests
from include.devcluster.protocol.render import Renderer, Target, page, send
from include.devcluster.protocol.selectors import Selection

log = logging.getLogger(__name__)

SETTLE_S = 2.0
"""How long the answer to a new pod waits for it to run: an operator that sees Pending sleeps for seconds."""

_OPEN = {"healthz", "livez", "readyz", "version"}
_PATCHES = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"


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
            return await self._route(request)
        except ApiError as error:
            return send(error.status(), error.code)
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
            return send(document)
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
        if request.method == "GET" and query.get("watch") in ("true", "1", "True"):
            render = Renderer(request, target)
            return await watch.serve(request, store, resource, space, selection, render.event)
        if request.method == "GET":
            found = [o for o in store.list(resource.key, space) if o in selection]
            found, meta = page(found, query.get("limit", ""), query.get("continue", ""), store.revision)
            return Renderer(request, target).list(found, meta)
        if request.method == "DELETE":
            if space is None and resource.namespaced:
                raise ApiError(
                    405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
                )
            options = requests.delete_options(await requests.body(request), request)
            found = [o for o in store.list(resource.key, space) if o in selection]
            for obj in found:
                self._registry.delete(resource, namespace(obj), obj["metadata"]["name"], options)
            return Renderer(request, target).list(found, {"resourceVersion": str(store.revision)})
        raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")

    async def _create(self, request: web.Request, target: Target) -> web.StreamResponse:
        obj = await requests.body(request)
        if not isinstance(obj, dict):
            raise errors.bad_request("the body of the request is not an object")
        if target.resource.namespaced and target.space is None:
            raise errors.unknown_path()
        requests.check_version(obj, target)
        obj = (await requests.strictness(request, target))(obj)
        dry = "dryRun" in request.query
        created = self._registry.create(target.resource, target.space or "", obj, _author(request), dry_run=dry)
        if target.resource is PODS and not dry:
            created = await self._settled(created)
        return Renderer(request, target).one(created, 201)

    async def _settled(self, pod: Object) -> Object:
        """The pod once it runs, or once it is known why it does not, or after a while."""
        store = self._registry.store
        subscription = store.subscribe(PODS.key)
        try:
            async with asyncio.timeout(SETTLE_S):
                while True:
                    current = store.get(PODS.key, namespace(pod), pod["metadata"]["name"])
                    if current is None or uid(current) != uid(pod):
                        return pod
                    pod = current
                    if _is_settled(pod):
                        return pod
                    await subscription.next(SETTLE_S)
        except (TimeoutError, ApiError):  # it takes too long, or too much happens meanwhile
            return pod
        finally:
            subscription.close()

    async def _one(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Verbs on one object or its sub-resources."""
        resource, registry = target.resource, self._registry
        if target.subresource and not (target.subresource == "status" and resource.status):
            return await self._subresource(request, target)
        match request.method:
            case "GET":
                return Renderer(request, target).one(registry.get(resource, target.space or "", target.name))
            case "PUT":
                body = await requests.body(request)
                requests.check_version(body, target)
                if resource.custom and not dig(body, "metadata.resourceVersion"):
                    raise errors.invalid(
                        resource.kind, target.name,
                        ("metadata.resourceVersion", "Invalid value: 0x0: must be specified for an update"),
                    )  # fmt: skip
                return await self._write(request, target, lambda _: body)
            case "PATCH":
                return await self._patch(request, target)
            case "DELETE":
                options = requests.delete_options(await requests.body(request), request)
                obj, is_gone = registry.delete(resource, target.space or "", target.name, options)
                if is_gone and resource is not PODS:
                    return send(errors.success(resource.plural, resource.group, target.name, uid(obj)))
                return Renderer(request, target).one(obj)
        raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")

    async def _write(
        self, request: web.Request, target: Target, change: Callable[[Object], Object], operation: str = "Update"
    ) -> web.Response:
        checked = await requests.strictness(request, target)
        obj = self._registry.update(
            target.resource, target.space or "", target.name, lambda old: checked(change(old)),
            _author(request, operation),
            subresource=target.subresource, dry_run="dryRun" in request.query,
        )  # fmt: skip
        return Renderer(request, target).one(obj)

    async def _patch(self, request: web.Request, target: Target) -> web.StreamResponse:
        body = await requests.body(request)
        match request.content_type:
            case "application/json-patch+json":
                return await self._write(request, target, lambda obj: json_patch.apply(obj, body))
            case "application/merge-patch+json":
                return await self._write(request, target, lambda obj: patch.merge(obj, body))
            case "application/strategic-merge-patch+json" if not target.resource.custom:
                return await self._write(request, target, lambda obj: patch.strategic(obj, body))
            case "application/apply-patch+yaml":
                return await self._apply(request, target, body)
        raise errors.unsupported_media(_PATCHES)

    async def _apply(self, request: web.Request, target: Target, config: Any) -> web.StreamResponse:
        """Server-side apply, which creates what is not there."""
        manager = request.query.get("fieldManager")
        if not manager:
            raise ApiError(
                422,
                "Invalid",
                'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
            )
        if not isinstance(config, dict) or not config.get("apiVersion") or not config.get("kind"):
            raise errors.bad_request("invalid object type: apiVersion and kind must be set in an apply configuration")
        requests.check_version(config, target)
        meta = config.setdefault("metadata", {})
        if meta.get("managedFields"):
            raise errors.bad_request("metadata.managedFields must be nil")
        meta.setdefault("name", target.name)
        config["apiVersion"] = target.resource.api_version
        force = request.query.get("force") in ("true", "1", "True")
        store, space = self._registry.store, target.space or ""
        if store.get(target.resource.key, space, target.name) is None:
            if target.subresource or meta.get("resourceVersion") or meta.get("uid"):
                raise errors.not_found(target.resource.key, target.name)
            new = managed.apply(None, config, manager, force=force)
            created = self._registry.create(target.resource, space, new, None, dry_run="dryRun" in request.query)
            return Renderer(request, target).one(created, 201)
        return await self._write(
            request,
            target,
            lambda obj: managed.apply(obj, config, manager, force=force, subresource=target.subresource),
            "Apply",
        )

    async def _subresource(self, request: web.Request, target: Target) -> web.StreamResponse:
        registry, space = self._registry, target.space or ""
        if target.resource is NAMESPACES and target.subresource == "finalize" and request.method == "PUT":
            return send(registry.get(NAMESPACES, "", target.name))
        if target.resource is not PODS:
            raise errors.unknown_path()
        pod = registry.get(PODS, space, target.name)
        match target.subresource, request.method:
            case "log", "GET":
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
                registry.bind(pod, lambda obj: {**obj, "spec": {**obj["spec"], "nodeName": node}})
                return send(
                    {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, 201
                )
            case "eviction", "POST":
                body = await requests.body(request)
                registry.delete(
                    PODS, space, target.name, requests.delete_options(body.get("deleteOptions") or {}, request)
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


def _author(request: web.Request, operation: str = "Update") -> Author:
    agent = request.headers.get("User-Agent", "unknown").partition("/")[0]
    return Author(request.query.get("fieldManager") or agent, operation)


def _is_settled(pod: Object) -> bool:
    status = pod["status"]
    if status["phase"] != "Pending" or pod["metadata"].get("deletionTimestamp"):
        return True
    if (scheduled := condition(pod, "PodScheduled")) and scheduled["status"] == "False":
        return True
    if pod["spec"].get("initContainers") and pod["spec"].get("nodeName"):
        return True
    waiting = [dig(c, "state.waiting.reason") for c in status.get("containerStatuses") or []]
    return any(reason not in (None, "ContainerCreating", "PodInitializing") for reason in waiting)
