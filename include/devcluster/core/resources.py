"""The kinds that are served: built in, and by CustomResourceDefinition."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from include.devcluster.core.objects import Object, name

VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


@dataclass(frozen=True)
class Resource:
    """One served kind.

    :param versions: served versions, the preferred (and stored) one first.
    :param status: has a status sub-resource, so that status is written there alone.
    :param generation: counts the changes of what is desired in `metadata.generation`.
    :param versioned: an update must say which version it is based on.
    :param collection: all can be deleted at once.
    :param custom: defined by a CustomResourceDefinition.
    :param columns: `additionalPrinterColumns` of a custom kind.
    :param schema: structural schema of a custom kind's stored version.
    """

    group: str
    versions: tuple[str, ...]
    plural: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    singular: str = ""
    status: bool = True
    generation: bool = False
    versioned: bool = False
    collection: bool = True
    custom: bool = False
    columns: tuple[Object, ...] = field(default=(), compare=False)
    schema: Object = field(default_factory=dict, compare=False)

    @property
    def key(self) -> str:
        """Qualified name, as messages and the store have it: `pods`, `mpijobs.kubeflow.org`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        """Its preferred apiVersion."""
        return self.at(self.versions[0])

    def at(self, version: str) -> str:
        """Its apiVersion in another version."""
        return f"{self.group}/{version}" if self.group else version


def _core(plural: str, kind: str, *short: str, **options: Any) -> Resource:
    return Resource("", ("v1",), plural, kind, short_names=short, **options)


PODS = _core("pods", "Pod", "po", categories=("all",), generation=True)
EVENTS = _core("events", "Event", "ev", status=False)
CONFIG_MAPS = _core("configmaps", "ConfigMap", "cm", status=False)
SECRETS = _core("secrets", "Secret", status=False)
SERVICES = _core("services", "Service", "svc", categories=("all",))
SERVICE_ACCOUNTS = _core("serviceaccounts", "ServiceAccount", "sa", status=False)
CLAIMS = _core("persistentvolumeclaims", "PersistentVolumeClaim", "pvc")
NAMESPACES = _core("namespaces", "Namespace", "ns", namespaced=False, collection=False)
NODES = _core("nodes", "Node", "no", namespaced=False)
LEASES = Resource("coordination.k8s.io", ("v1",), "leases", "Lease", status=False, versioned=True)
PRIORITIES = Resource("scheduling.k8s.io", ("v1",), "priorityclasses", "PriorityClass", False, ("pc",), status=False)
DEFINITIONS = Resource(
    "apiextensions.k8s.io", ("v1",), "customresourcedefinitions", "CustomResourceDefinition", False, ("crd", "crds"),
    ("api-extensions",), generation=True,
)  # fmt: skip
BUILT_IN = (
    PODS, EVENTS, CONFIG_MAPS, SECRETS, SERVICES, SERVICE_ACCOUNTS, CLAIMS, NAMESPACES, NODES, LEASES, PRIORITIES,
    DEFINITIONS,
)  # fmt: skip


def from_definition(crd: Object) -> Resource:
    """The resource that a CustomResourceDefinition describes."""
    spec = crd["spec"]
    served = [v for v in spec["versions"] if v.get("served", True)]
    served.sort(key=lambda v: not v.get("storage"))
    names = spec["names"]
    return Resource(
        group=spec["group"],
        versions=tuple(v["name"] for v in served),
        plural=names["plural"],
        kind=names["kind"],
        namespaced=spec.get("scope", "Namespaced") == "Namespaced",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        singular=names.get("singular") or names["kind"].lower(),
        status="status" in (served[0].get("subresources") or {}) if served else False,
        generation=True,
        versioned=True,
        custom=True,
        columns=tuple(served[0].get("additionalPrinterColumns") or ()) if served else (),
        schema=(served[0].get("schema") or {}).get("openAPIV3Schema") or {} if served else {},
    )


class Catalogue:
    """All resources that are served now."""

    def __init__(self) -> None:
        self._resources = {resource.key: resource for resource in BUILT_IN}

    def __iter__(self) -> Any:
        return iter(self._resources.values())

    def define(self, crd: Object) -> Resource:
        """Serve what a definition describes."""
        resource = from_definition(crd)
        self._resources[resource.key] = resource
        return resource

    def forget(self, crd: Object) -> None:
        """Serve it no longer."""
        self._resources.pop(name(crd), None)

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """By the parts of a path; None when it is not served."""
        resource = self._resources.get(f"{plural}.{group}" if group else plural)
        return resource if resource and version in resource.versions else None

    def key(self, key: str) -> Resource:
        """By qualified name. Raises KeyError."""
        return self._resources[key]

    def groups(self) -> dict[str, list[str]]:
        """Named groups -> their versions, the preferred one first."""
        found: dict[str, list[str]] = {}
        for resource in self._resources.values():
            if resource.group:
                versions = found.setdefault(resource.group, [])
                versions.extend(v for v in resource.versions if v not in versions)
        return found
