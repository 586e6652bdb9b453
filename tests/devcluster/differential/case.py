"""What a case is: requests in order, all in one namespace."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

JSON, MERGE, STRATEGIC = "application/json", "application/merge-patch+json", "application/strategic-merge-patch+json"
JSON_PATCH, APPLY = "application/json-patch+json", "application/apply-patch+yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"

Body = Any
Cases = dict[str, list["Request"]]


@dataclass(frozen=True)
class Request:
    """One request. `{ns}` in the path and anywhere in the body is the namespace of the run.

    :param path: without a leading slash it is below the namespace in `/api/v1`.
    :param body: encoded as JSON, but bytes are sent as they are.
    """

    method: str
    path: str
    body: Body = None
    content: str = JSON
    accept: str = JSON

    @property
    def url(self) -> str:
        return self.path if self.path.startswith("/") else f"/api/v1/namespaces/{{ns}}/{self.path}"

    def wanting(self, accept: str) -> Request:
        """The same, answered in another shape."""
        return replace(self, accept=accept)


def get(path: str, accept: str = JSON) -> Request:
    return Request("GET", path, accept=accept)


def post(path: str, body: Body) -> Request:
    return Request("POST", path, body)


def put(path: str, body: Body) -> Request:
    return Request("PUT", path, body)


def delete(path: str, body: Body = None) -> Request:
    return Request("DELETE", path, body)


def patch(path: str, body: Body, content: str = MERGE) -> Request:
    return Request("PATCH", path, body, content)


def apply(path: str, body: Body, manager: str = "one", **query: str) -> Request:
    """Server-side apply."""
    asked = "".join(f"&{key}={value}" for key, value in query.items())
    return Request("PATCH", f"{path}?fieldManager={manager}{asked}", body, APPLY)


def pod(name: str, container: dict[str, Any] | None = None, /, **spec: Any) -> dict[str, Any]:
    """A pod that nobody schedules, so that nothing but the request decides what it looks like."""
    meta = {"name": name, **spec.pop("metadata", {})}
    main = {"name": "main", "image": "busybox:1.36", **(container or {})}
    body = {"schedulerName": "nobody", "automountServiceAccountToken": False, "containers": [main], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": body}
