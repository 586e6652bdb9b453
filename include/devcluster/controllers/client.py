"""A thin asynchronous client of the Kubernetes API: a kubeconfig, JSON in, JSON out, watches as iterators.

The generated clients cost a second of import and tens of megabytes for models that the controllers do not need.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml

from include.devcluster.controllers.objects import Manifest, Resource, key_of

FIELD_MANAGER = "podium-controllers"
REQUEST_TIMEOUT_S = 30.0
WATCH_SILENCE_S = 150.0
"""A watch is given up that is silent for so long: a server that has nothing else to say says a bookmark each minute."""


class KubeconfigError(Exception):
    """The kubeconfig cannot be used; the message names the file, what is wrong and the mend."""


class ApiError(Exception):
    """The API server refused a request."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class GoneError(ApiError):
    """410: the resourceVersion is too old to continue from; list again."""


@dataclass(frozen=True)
class Credentials:
    """Address of an API server and what it takes to be let in."""

    server: str
    token: str = field(default="", repr=False)
    ca_pem: str = field(default="", repr=False)
    client_pem: tuple[str, str] | None = field(default=None, repr=False)
    verify: bool = True

    @classmethod
    def from_kubeconfig(cls, path: Path) -> Credentials:
        """Read the current context. Tokens and client certificates are understood, exec plug-ins are not.

        Raises :class:`KubeconfigError` when the file is missing or its current context is incomplete.
        """
        try:
            config = yaml.safe_load(path.read_text())
            context = _named(config["contexts"], config["current-context"])["context"]
            cluster = _named(config["clusters"], context["cluster"])["cluster"]
            user = _named(config["users"], context["user"]).get("user") or {}
        except FileNotFoundError:
            message = (
                f"{path}: no such kubeconfig. Start the dev cluster first (it writes the file), or pass --kubeconfig"
            )
            raise KubeconfigError(message) from None
        except (KeyError, TypeError, yaml.YAMLError) as error:
            message = f"{path}: not a usable kubeconfig ({error}). Check current-context, clusters and users"
            raise KubeconfigError(message) from error
        token = user.get("token") or _text(user, "token-file", "tokenFile") or ""
        certificate = _data_or_file(user, "client-certificate")
        key = _data_or_file(user, "client-key")
        return cls(
            server=cluster["server"].rstrip("/"),
            token=token,
            ca_pem=_data_or_file(cluster, "certificate-authority"),
            client_pem=(certificate, key) if certificate and key else None,
            verify=not cluster.get("insecure-skip-tls-verify", False),
        )

    def ssl_context(self) -> ssl.SSLContext | bool:
        """What aiohttp wants for ``ssl``; plain ``True`` when the server speaks http."""
        if not self.server.startswith("https:"):
            return True
        context = ssl.create_default_context(cadata=self.ca_pem or None)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.client_pem:
            # The ssl module reads client certificates from files alone.
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
                file.write("\n".join(self.client_pem))
                file.flush()
                context.load_cert_chain(file.name)
        return context


class KubeApi:
    """The calls that controllers make. Use as an asynchronous context manager."""

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        token = self.credentials.token
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}"} if token else {},
            connector=aiohttp.TCPConnector(ssl=self.credentials.ssl_context(), limit=0),
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, resource: Resource, namespace: str, name: str) -> Manifest:
        """One object; a missing one is an :class:`ApiError` 404."""
        return await self._call("GET", resource.path(namespace, name))

    async def list(self, resource: Resource, namespace: str) -> Manifest:
        """The collection, with the resourceVersion to watch from in ``metadata``."""
        return await self._call("GET", resource.path(namespace))

    async def create(self, resource: Resource, manifest: Manifest) -> Manifest:
        """A new object; a name that is taken is an :class:`ApiError` 409."""
        return await self._call("POST", resource.path(key_of(manifest)[0]), body=manifest)

    async def apply(self, resource: Resource, manifest: Manifest) -> Manifest:
        """Server-side apply: create or bring to this state, as one owner of fields."""
        return await self._call(
            "PATCH",
            resource.path(*key_of(manifest)),
            body=manifest,
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
            content_type="application/apply-patch+yaml",
        )

    async def update_status(self, resource: Resource, manifest: Manifest) -> Manifest:
        """Replace the status. A stale ``metadata.resourceVersion`` is refused with a 409 :class:`ApiError`."""
        return await self._call("PUT", resource.path(*key_of(manifest), "status"), body=manifest)

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str = "") -> None:
        """Delete in the background; with ``uid`` only if the object is still that one. A missing one is fine."""
        body: Manifest = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        try:
            await self._call("DELETE", resource.path(namespace, name), body=body)
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    async def watch(self, resource: Resource, namespace: str, version: str, seconds: int) -> AsyncIterator[Manifest]:
        """Yield watch events after ``version`` until the server ends the watch.

        Raises :class:`GoneError` when ``version`` is too old, and :class:`TimeoutError` when the server falls silent.
        """
        query = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_TIMEOUT_S, sock_read=WATCH_SILENCE_S)
        url = self.credentials.server + resource.path(namespace)
        async with self._open().get(url, params=query, timeout=timeout) as response:
            await _raise_for(response)
            rest = b""
            # Not readline(): objects may be larger than the stream's line limit.
            while chunk := await _heard(response):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(None, lines):
                    event: Manifest = json.loads(line)
                    if event["type"] == "ERROR":
                        raise _error(int(event["object"].get("code") or 500), event["object"])
                    yield event

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("KubeApi is used outside its 'async with' block")
        return self._session

    async def _call(
        self,
        method: str,
        path: str,
        body: Manifest | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Manifest:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type} if data is not None else {}
        url = self.credentials.server + path
        async with self._open().request(method, url, data=data, params=query, headers=headers) as response:
            await _raise_for(response)
            result: Manifest = await response.json()
            return result


async def _heard(response: aiohttp.ClientResponse) -> bytes:
    """What the server says next, nothing at the end."""
    # By a clock of our own: aiohttp's stands while it has paused the transport.
    try:
        async with asyncio.timeout(WATCH_SILENCE_S):
            return await response.content.readany()
    except TimeoutError:
        raise TimeoutError(f"the watch was silent for {WATCH_SILENCE_S:.0f} s") from None


async def _raise_for(response: aiohttp.ClientResponse) -> None:
    if response.status < 400:
        return
    text = await response.text()
    try:
        status = json.loads(text)
    except ValueError:
        status = {"reason": response.reason, "message": text[:500]}
    raise _error(response.status, status if isinstance(status, dict) else {"message": text[:500]})


def _error(code: int, status: Mapping[str, Any]) -> ApiError:
    kind = GoneError if code == 410 else ApiError
    return kind(code, str(status.get("reason") or "Error"), str(status.get("message") or ""))


def _named(entries: list[Manifest], name: str) -> Manifest:
    for entry in entries:
        if entry["name"] == name:
            return entry
    raise KeyError(name)


def _text(entry: Mapping[str, Any], *keys: str) -> str:
    for key in keys:
        if entry.get(key):
            return Path(str(entry[key])).read_text().strip()
    return ""


def _data_or_file(entry: Mapping[str, Any], key: str) -> str:
    if entry.get(f"{key}-data"):
        return base64.b64decode(entry[f"{key}-data"]).decode()
    return _text(entry, key)
