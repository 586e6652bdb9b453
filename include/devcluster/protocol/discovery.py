"""What clients ask first: API groups, their resources, the version and a minimal OpenAPI.

The OpenAPI documents hold no schemas. They exist so that kubectl finds out that the server validates fields itself,
which is all that `kubectl apply` needs of them.
"""

from __future__ import annotations

import platform

from include.devcluster.core.objects import Object
from include.devcluster.core.resources import VERBS, Catalogue, Resource

VERSION = "v1.34.4"
"""The Kubernetes version whose behaviour the conformance suite was run against."""

_POD_SUBRESOURCES = (
    ("log", "Pod", ["get"]),
    ("exec", "PodExecOptions", ["create", "get"]),
    ("binding", "Binding", ["create"]),
    ("eviction", "Eviction", ["create"]),
)


_OTHER_GROUP = {"Eviction": {"group": "policy", "version": "v1"}}


def version() -> Object:
    """Answer to /version."""
    major, minor, _ = VERSION[1:].split(".")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"{VERSION}+podium-devcluster",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": platform.python_implementation(),
        "platform": f"{platform.system().lower()}/{platform.machine()}",
    }


def core_versions() -> Object:
    """Answer to /api."""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def group(name: str, versions: list[str]) -> Object:
    """`APIGroup`; the first version is the preferred one."""
    listed = [{"groupVersion": f"{name}/{v}", "version": v} for v in versions]
    return {"kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": listed, "preferredVersion": listed[0]}


def groups(catalogue: Catalogue) -> Object:
    """`APIGroupList`."""
    every = [group(name, versions) for name, versions in catalogue.groups().items()]
    listed = [{key: value for key, value in one.items() if key not in ("kind", "apiVersion")} for one in every]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}


def resources(catalogue: Catalogue, wanted: str, version: str) -> Object | None:
    """`APIResourceList` of a group and version, or None when there is no such."""
    found = [r for r in catalogue if r.group == wanted and version in r.versions]
    if not found:
        return None
    listed: list[Object] = []
    for resource in found:
        listed.append(_listed(resource))
        for sub, kind, verbs in _subresources(resource):
            listed.append({"name": f"{resource.plural}/{sub}", "singularName": "", "namespaced": resource.namespaced,
                           "kind": kind, "verbs": verbs, **_OTHER_GROUP.get(kind, {})})  # fmt: skip
    made = {"kind": "APIResourceList", "groupVersion": found[0].at(version), "resources": listed}
    return {**made, "apiVersion": "v1"} if wanted else made


def _subresources(resource: Resource) -> list[tuple[str, str, list[str]]]:
    found = [("status", resource.kind, ["get", "patch", "update"])] if resource.status else []
    return [*found, *_POD_SUBRESOURCES] if resource.key == "pods" else found


def _listed(resource: Resource) -> Object:
    listed: Object = {
        "name": resource.plural,
        "singularName": resource.singular or resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": [verb for verb in VERBS if resource.collection or verb != "deletecollection"],
    }
    if resource.short_names:
        listed["shortNames"] = list(resource.short_names)
    if resource.categories:
        listed["categories"] = list(resource.categories)
    return listed


def openapi_v2() -> bytes:
    """A `openapi.v2.Document` in protobuf, the only form kubectl reads: a version and a title, no definitions."""
    title, version = b"Podium dev cluster", VERSION.encode()
    info = bytes([1 << 3 | 2, len(title)]) + title + bytes([2 << 3 | 2, len(version)]) + version
    return bytes([1 << 3 | 2, 3]) + b"2.0" + bytes([2 << 3 | 2, len(info)]) + info
