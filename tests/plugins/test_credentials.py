"""Credentials that are good for a shorter time than the work: from a kubeconfig's plug-in, as EKS and GKE have."""

import asyncio
import json
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk.exceptions import TaskDeferred

from tests.plugins.cluster import TOKEN, Platform
from tests.plugins.harness import Ti, begin, defer_soon, finish, run
from tests.plugins.live.matrix.proxy import HEAD_END, HoldingProxy
from tests.plugins.test_pod_operator import leave, operator

# Hands out the token of now; the file says which that is, or that there is none to be had.
PLUGIN = """#!{python}
import json, pathlib, sys
token = pathlib.Path({file!r}).read_text()
if not token:
    sys.exit("the identity provider is away")
status = {{"token": token}}
print(json.dumps({{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}}))
"""


class Rotating(HoldingProxy):
    """Takes only the token of now, which is another one after so many requests, and knows that of the cluster."""

    def __init__(self, kubeconfig: Path, folder: Path, *, every: int) -> None:
        super().__init__(kubeconfig)
        self.file, self._every, self._left, self.number, self.refused = folder / "token", every, every, 0, 0
        self.file.write_text(self.token)
        self._plugin = folder / "plugin"
        self._plugin.write_text(PLUGIN.format(python=sys.executable, file=str(self.file)))
        self._plugin.chmod(self._plugin.stat().st_mode | stat.S_IXUSR)

    @property
    def token(self) -> str:
        return f"token-{self.number}"

    def rotate(self, *, away: bool = False) -> None:
        """Let the token of now be another one, which the plug-in cannot get while its provider is away."""
        self.number, self._left = self.number + 1, self._every
        self.file.write_text("" if away else self.token)

    def write(self, path: Path, user: dict[str, Any] | None = None) -> Path:
        """A kubeconfig whose user's token comes from the plug-in."""
        config = yaml.safe_load(self.write_kubeconfig(path).read_text())
        own = {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never"}
        config["users"][0]["user"] = user or {"exec": {**own, "command": str(self._plugin)}}
        path.write_text(yaml.safe_dump(config))
        return path

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(HEAD_END)
        given = f"bearer {self.token}".encode()
        if given not in head.lower():
            self.refused += 1
            body = json.dumps({"kind": "Status", "status": "Failure", "code": 401, "message": "Unauthorized"})
            answer = f"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            writer.write(f"{answer}Connection: close\r\n\r\n{body}".encode())
            await writer.drain()
            return
        at = head.lower().index(given)
        whole = asyncio.StreamReader()
        whole.feed_data(head[:at] + f"Bearer {TOKEN}".encode() + head[at + len(given) :])
        self._left -= 1
        if not self._left:
            self.rotate()
        pumped = asyncio.create_task(self._feed(reader, whole))
        try:
            await super()._forward(whole, writer)
        finally:
            pumped.cancel()

    @staticmethod
    async def _feed(source: asyncio.StreamReader, target: asyncio.StreamReader) -> None:
        while data := await source.read(65536):
            target.feed_data(data)
        target.feed_eof()


@pytest.fixture
def rotating(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rotating]:
    with Rotating(platform.kubeconfig, tmp_path, every=10_000) as proxy:
        path = proxy.write(tmp_path / "kubeconfig")
        extra = {"kube_config_path": str(path)}
        monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps({"conn_type": "kubernetes", "extra": extra}))
        yield proxy


SLOW = f"import time; [print(n, flush=True) or time.sleep(0.5) for n in range(10)]; {leave('1')}"


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "sync"])
def test_work_outlives_its_token(
    rotating: Rotating, name: str, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    defer_soon(monkeypatch)
    # Of six requests each: none that waits for the work has one for all it asks.
    rotating._every = 6
    rotating.rotate()
    assert run(lambda: operator(SLOW, deferrable=deferrable), Ti("work", run_id=name)) == 1
    assert rotating.refused > 0


def test_work_is_waited_for_while_no_credentials_are_to_be_had(
    rotating: Rotating, platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is deleted, and no attempt is lost."""
    defer_soon(monkeypatch)
    ti = Ti("work", run_id=name)
    deferred = begin(lambda: operator(SLOW), ti)
    assert isinstance(deferred, TaskDeferred)
    rotating.rotate(away=True)

    async def later() -> None:
        await asyncio.sleep(4)
        rotating.rotate()

    coming = asyncio.run_coroutine_threadsafe(later(), rotating._loop)
    assert finish(lambda: operator(SLOW), ti, deferred) == 1
    coming.result(10)


def test_a_token_in_a_file_is_read_again(
    rotating: Rotating, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As kubelets rotate those of service accounts."""
    defer_soon(monkeypatch)
    rotating.write(tmp_path / "kubeconfig", {"tokenFile": str(rotating.file)})
    ti = Ti("work", run_id=name)
    deferred = begin(lambda: operator(SLOW), ti)
    assert isinstance(deferred, TaskDeferred)
    rotating.rotate()
    assert finish(lambda: operator(SLOW), ti, deferred) == 1
