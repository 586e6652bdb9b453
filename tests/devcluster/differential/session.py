"""Sends cases to a cluster."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import Any

import yaml

from tests.devcluster.cluster import Cluster, eventually, is_missing
from tests.devcluster.differential.case import Request
from tests.devcluster.differential.normal import normal

AGENT = "differential/1"
_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')

Answer = dict[str, Any]
"""`code`, `warnings` (where there are some) and `body` of one answer, in normal form."""


class Session:
    """A namespace of its own on one cluster.

    Names of objects are the same in all of them: two sessions can run side by side.
    """

    def __init__(self, kubeconfig: Path) -> None:
        self._cluster = Cluster(kubeconfig, f"differential-{uuid.uuid4().hex[:8]}")
        self.namespace = self._cluster.namespace

    def __enter__(self) -> Session:
        self._cluster.make_namespace()
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.core.delete_namespace(self.namespace)

    def run(self, case: list[Request]) -> list[Answer]:
        """The answers to one case."""
        return [self.send(request) for request in case]

    def send(self, request: Request) -> Answer:
        """The answer to one request."""
        body = request.body
        if body is not None and not isinstance(body, bytes):
            body = self._placed(json.dumps(body)).encode()
        configuration = self._cluster.client.configuration
        headers = {"Accept": request.accept, "Content-Type": request.content, "User-Agent": AGENT}
        if token := configuration.auth_settings().get("BearerToken", {}).get("value"):
            headers["Authorization"] = token
        pool = self._cluster.client.rest_client.pool_manager
        url = configuration.host + self._placed(request.url)
        given = pool.request(request.method, url, headers=headers, body=body, timeout=20, redirect=False, retries=False)
        if request.method == "POST" and given.status == 201 and request.url.endswith("customresourcedefinitions"):
            self._until_served(json.loads(given.data))
        generated = _generated(request.body)
        text = given.data.decode()
        is_yaml = "yaml" in given.headers.get("Content-Type", "")
        body = normal(yaml.safe_load(text) if is_yaml else _decoded(text), self.namespace, generated[:58])
        answer: Answer = {"code": given.status, "body": body}
        if warnings := [_WARNING.findall(text) for text in given.headers.getlist("Warning")]:
            answer["warnings"] = sorted(text for found in warnings for text in found)
        return answer

    def _until_served(self, definition: dict[str, Any]) -> None:
        """A real cluster serves what a definition describes a moment later."""
        group, version = definition["spec"]["group"], definition["spec"]["versions"][0]["name"]
        path = f"/apis/{group}/{version}/namespaces/{self.namespace}/{definition['spec']['names']['plural']}"
        eventually(lambda: not is_missing(lambda: self._cluster.raw("GET", path)), what=f"{path} is served")

    def _placed(self, text: str) -> str:
        return text.replace("{ns}", self.namespace)


def _generated(body: Any) -> str:
    """What the name of the object will begin with, where the server makes it."""
    meta = body.get("metadata") if isinstance(body, dict) else None
    return str(meta.get("generateName", "")) if isinstance(meta, dict) else ""


def _decoded(text: str) -> Any:
    """JSON, a stream of JSON documents as a list of them, or text as it is."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in text.splitlines()]
    except ValueError:
        return text
