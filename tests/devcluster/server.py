"""Starts and stops the dev cluster as a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("PODIUM_STACK_PYTHON", sys.executable))
"""The environment that the server runs in."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class DevCluster:
    """A dev cluster in a folder.

    Its images are named after those of the real cluster's rig and run this machine's programs.

    :param user: whom the server runs as, when that is to be another than this process's user.
    """

    def __init__(self, folder: Path, *, user: int | None = None, **settings: Any) -> None:
        self.folder, self.port = folder, int(settings.pop("port", 0)) or free_port()
        self._user = user
        self.kubeconfig = folder / "kubeconfig"
        self._config = folder / "config.yaml"
        gpu = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
        capacity = {"cpu": "2", "memory": "16Gi", "nvidia.com/gpu": "8", "pods": "110"}
        content = {
            "root": str(folder / "state"),
            "port": self.port,
            "token": "a-token-for-tests",
            "kubeconfig": str(self.kubeconfig),
            "nodes": [{"name": "node-1", "labels": gpu, "capacity": capacity}],
            "images": {
                "busybox": {"digest": f"sha256:{'0' * 64}"},
                "alpine": {},
                "python": {"path": [str(PYTHON.parent)]},
            },
            "namespaces": ["podium"],
            **settings,
        }
        self._config.write_text(yaml.safe_dump(content))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [PYTHON, "-m", "include.devcluster", "--config", self._config],
                cwd=CHECKOUT,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), "SERVER_SECRET": "not-for-pods"},
                stdout=log,
                stderr=log,
                user=self._user,
                group=self._user,
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the dev cluster ended with {self.process.returncode}:\n{self.log.read_text()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                if self.kubeconfig.exists():
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError(f"the dev cluster does not answer:\n{self.log.read_text()}")

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(30)

    def kill(self) -> None:
        """What a crash does."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def drain(self) -> str:
        """End all pods' processes; returns what the command printed."""
        done = subprocess.run(
            [PYTHON, "-m", "include.devcluster", "drain", "--config", self._config, "--grace", "1"],
            cwd=CHECKOUT, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT)},
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        return done.stdout

    @contextmanager
    def running(self) -> Iterator[DevCluster]:
        self.start()
        try:
            yield self
        finally:
            self.stop()
            self.drain()
