"""The configuration file of the dev cluster."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from include.devcluster.core.errors import DevClusterError


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Taint(_Model):
    """A taint of a node."""

    key: str
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


class Node(_Model):
    """A node that the scheduler may use; capacity is in Kubernetes quantities and nobody checks it against the host."""

    name: str
    labels: dict[str, str] = {}
    taints: list[Taint] = []
    capacity: dict[str, str] = {"cpu": "8", "memory": "16Gi", "pods": "110"}


class Image(_Model):
    """What a container of this image finds on the host.

    :param digest: shown as the image's id.
    :param marker: a file that is there once the image's content is complete; until then a pull fails.
    :param path: folders put in front of PATH.
    :param env: the image's own environment.
    :param mounts: path in the container -> path on the host, read-only.
    :param workdir: working directory unless the container names one.
    :param entrypoint: command unless the container names one.
    :param cmd: arguments unless the container names a command or arguments.
    """

    digest: str = ""
    marker: Path | None = None
    path: list[str] = []
    env: dict[str, str] = {}
    mounts: dict[str, Path] = {}
    workdir: str = "/"
    entrypoint: list[str] = []
    cmd: list[str] = []

    @property
    def complete(self) -> bool:
        """Whether its content is there."""
        return self.marker is None or self.marker.exists()


class Retention(_Model):
    """How much of pods that have finished is kept, whose owners do not delete them; the oldest go first.

    :param seconds: every pod stays that long after its end, whatever the limits say.
    :param pods: how many stay longer (as `--terminated-pod-gc-threshold` of kube-controller-manager).
    :param megabytes: what those may take on the disk (logs, emptyDir volumes).
    """

    seconds: float = Field(default=3600.0, ge=0)
    pods: int = Field(default=200, ge=0)
    megabytes: int = Field(default=50, ge=0)


class Config(_Model):
    """Everything the dev cluster is told.

    :param root: state: objects, pods, logs. One server at a time.
    :param kubeconfig: written at start, mode 0600.
    :param images: by repository; every tag and digest of it matches.
    :param pod_network: each pod gets an address of it (loopback on Linux). By default a part of 127.64.0.0/10 that
        follows from the port, so that the pods of two dev clusters on one machine do not meet.
    :param isolation: `namespaces` gives each container a root and process ids of its own; `mapped` rewrites mount
        paths in its command and environment instead; `auto` tries the first and takes the second where it is refused.
    :param namespaces: made at start beside `default` and `kube-system`.
    :param hidden: host paths that containers must not see (with `namespaces`); root, kubeconfig and this file always.
    :param retention: what stays of finished pods.
    :param restart_backoff_s: first delay between restarts of a failing container; doubles up to five minutes.
    """

    root: Path
    host: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)
    token: str = Field(min_length=8)
    kubeconfig: Path
    nodes: list[Node] = Field(min_length=1)
    images: dict[str, Image] = {}
    pod_network: str = Field(default_factory=lambda values: _network_of(values["port"]))
    isolation: Literal["auto", "namespaces", "mapped"] = "auto"
    namespaces: list[str] = ["podium"]
    hidden: list[Path] = []
    restart_backoff_s: float = Field(default=10.0, gt=0)
    retention: Retention = Retention()

    @field_validator("pod_network")
    @classmethod
    def _network(cls, value: str) -> str:
        ipaddress.ip_network(value)
        return value

    def image(self, reference: str) -> Image | None:
        """The image a reference names, whatever its tag or digest; None if there is none of that repository."""
        return self.images.get(repository(reference))


def _network_of(port: int) -> str:
    """One of the 1,024 networks of 4,096 addresses in 127.64.0.0/10."""
    number = port % 1024
    return f"127.{64 + number // 16}.{number % 16 * 16}.0/20"


def repository(reference: str) -> str:
    """Repository of an image reference: `docker.io/library/busybox:1.36` and `busybox` are both `busybox`.

    >>> repository("registry.example:5000/team/train:v1@sha256:00")
    'registry.example:5000/team/train'
    """
    base = reference.partition("@")[0]
    head, slash, last = base.rpartition("/")
    base = head + slash + last.partition(":")[0]
    for prefix in ("docker.io/library/", "docker.io/", "library/"):
        base = base.removeprefix(prefix)
    return base


def load(path: Path) -> Config:
    """Read a configuration file. Raises DevClusterError naming file and key."""
    try:
        content: Any = yaml.safe_load(path.read_text())
    except OSError as error:
        raise DevClusterError(
            f"{path}: {error.strerror}. Give the dev cluster's configuration with --config."
        ) from error
    except yaml.YAMLError as error:
        raise DevClusterError(f"{path}: not YAML: {error}") from error
    try:
        config = Config.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise DevClusterError(f"{path}: {problems}") from error
    return config.model_copy(update={"hidden": [*config.hidden, path.resolve()]})
