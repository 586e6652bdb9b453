"""How containers are kept apart: namespaces of their own, or, where those are refused, mapped paths.

With `mapped`, a container sees the host's file system. A path that it mounts (or works in) exists as a link under a
folder of the container, and is replaced by that in its command, arguments, environment and working directory.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from include.devcluster.config import Config, Image
from include.devcluster.core.errors import DevClusterError
from include.devcluster.core.objects import Object
from include.devcluster.node.environment import HOME
from include.devcluster.node.volumes import READONLY, Volumes
from include.devcluster.runtime.join import JoinSpec
from include.devcluster.runtime.podroot import Mount
from include.devcluster.runtime.process import CHECKOUT, Process
from include.devcluster.runtime.shim import Spec

Mode = Literal["namespaces", "mapped"]

_PROBE = """
import os, sys
from include.devcluster.runtime import podroot
if os.getuid():
    podroot.enter_user_namespace(os.getuid(), os.getgid())
podroot.unshare(podroot.CLONE_NEWPID)
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
podroot.unshare(podroot.CLONE_NEWNS)
podroot.enter(sys.argv[1], [], [])
"""


def choose(config: Config) -> Mode:
    """The isolation that this machine allows.

    :raises DevClusterError: `namespaces` was asked for and is refused here.
    """
    if config.isolation == "mapped":
        return "mapped"
    refusal = _refusal()
    if refusal is None:
        return "namespaces"
    if config.isolation == "namespaces":
        raise DevClusterError(
            f"isolation: namespaces: refused by this machine: {refusal}. Allow user namespaces (sysctl "
            "kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu), or set isolation: mapped."
        )
    return "mapped"


def _refusal() -> str | None:
    if sys.platform != "linux":
        return f"{sys.platform} has no namespaces"
    with tempfile.TemporaryDirectory() as folder:
        tried = subprocess.run(
            [sys.executable, "-s", "-S", "-c", _PROBE, folder],
            env={"PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    return (tried.stderr.strip() or "no reason given").splitlines()[-1] if tried.returncode else None


@dataclass(frozen=True)
class Isolation:
    """Turns a container of a pod into what the shim runs."""

    config: Config
    mode: Mode
    volumes: Volumes

    @property
    def _user_namespace(self) -> bool:
        return self.mode == "namespaces" and os.getuid() != 0

    def spec(
        self, pod: Object, container: Object, image: Image, argv: list[str], env: dict[str, str], folder: Path
    ) -> Spec:
        """What to run for one attempt of a container in `folder`, where its private files are made."""
        mounts = self._mounts(pod, container, image, folder)
        cwd = container.get("workingDir") or image.workdir
        if self.mode == "mapped":
            mapping = _link(mounts, cwd, folder)
            return {
                "argv": [mapping.text(word) for word in argv],
                "env": {key: mapping.text(value) for key, value in env.items()},
                "cwd": mapping.text(cwd),
                "root": None,
                "mounts": [],
                "hidden": [],
                "user_namespace": False,
            }
        root = folder / "root"
        root.mkdir(parents=True, exist_ok=True)
        if not os.path.isdir(cwd) and not any(m["target"] == cwd for m in mounts):
            made = folder / "workdir"
            made.mkdir(exist_ok=True)
            mounts.insert(0, {"source": str(made), "target": cwd, "readonly": False})
        hidden = [self.config.root, self.config.kubeconfig, *self.config.hidden]
        return {
            "argv": argv,
            "env": env,
            "cwd": cwd,
            "root": str(root),
            "mounts": mounts,
            "hidden": [str(path) for path in hidden],
            "user_namespace": self._user_namespace,
        }

    def _mounts(self, pod: Object, container: Object, image: Image, folder: Path) -> list[Mount]:
        home, message = folder / "home", folder / "termination-log"
        home.mkdir(parents=True, exist_ok=True)
        message.touch()
        mounts: list[Mount] = [
            {"source": str(home), "target": HOME, "readonly": False},
            {"source": str(message), "target": container["terminationMessagePath"], "readonly": False},
        ]
        mounts += [{"source": str(host), "target": path, "readonly": True} for path, host in image.mounts.items()]
        kinds = {v["name"]: next((k for k in v if k != "name"), "") for v in pod["spec"].get("volumes") or []}
        for mount in container.get("volumeMounts") or []:
            source = self.volumes.folder(pod, mount["name"])
            if sub := mount.get("subPath"):
                source = source / sub
                if not source.exists():
                    source.mkdir(parents=True)
            readonly = bool(mount.get("readOnly")) or kinds[mount["name"]] in READONLY
            mounts.append({"source": str(source), "target": os.path.normpath(mount["mountPath"]), "readonly": readonly})
        return mounts

    def join(self, process: Process, argv: list[str], *, tty: bool) -> JoinSpec:
        """How to run one more command in a running container."""
        spec = process.spec()
        started = process.started()
        mapping = _Mapping.load(process.folder) if self.mode == "mapped" else _Mapping({})
        return {
            "argv": [mapping.text(word) for word in argv],
            "env": spec["env"],
            "cwd": spec["cwd"],
            "init": started["init"] if started and spec["root"] else None,
            "user_namespace": spec["user_namespace"],
            "tty": tty,
        }


class _Mapping:
    """Paths in the container -> paths on the host."""

    def __init__(self, paths: dict[str, str]) -> None:
        self._paths = paths
        longest = sorted(paths, key=len, reverse=True)
        self._pattern = (
            re.compile(r"(?<![\w.-])(?:" + "|".join(map(re.escape, longest)) + r")(?![\w.-])") if paths else None
        )

    def text(self, text: str) -> str:
        """The text with every mapped path replaced where it stands as a path of its own."""
        return self._pattern.sub(lambda match: self._paths[match[0]], text) if self._pattern else text

    @classmethod
    def load(cls, folder: Path) -> _Mapping:
        links = folder / "links"
        return cls({path: str(links) + path for path in (folder / "mapped").read_text().splitlines()})


def _link(mounts: list[Mount], cwd: str, folder: Path) -> _Mapping:
    """Make `links/` of a container: for every mount a link at its path."""
    links = folder / "links"
    links.mkdir(parents=True, exist_ok=True)
    for mount in sorted(mounts, key=lambda m: m["target"]):
        link = links / mount["target"].lstrip("/")
        if link.parent.resolve().is_relative_to(links.resolve()):
            link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink() and not link.exists():
            link.symlink_to(mount["source"])
    paths = [mount["target"] for mount in mounts]
    if not os.path.isdir(cwd):
        (links / cwd.lstrip("/")).mkdir(parents=True, exist_ok=True)
        paths.append(cwd)
    (folder / "mapped").write_text("\n".join(paths))
    return _Mapping({path: str(links) + path for path in paths})
