"""What a supervised service is, and what all of them are made from."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from include.config import Settings
from include.config.platform import Ports
from include.stack.credentials import Credentials
from include.stack.environments import Environments
from include.stack.errors import StackError
from include.stack.health import Check
from include.stack.java import Java, find
from include.stack.orphans import MARKER, SERVICE
from include.stack.paths import Paths

# What services inherit from the shell that starts them. All else (KUBECONFIG, AWS_*, PYTHON*...) stays out: a
# service must not depend on who started it.
INHERITED = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
)


@dataclass(frozen=True)
class Service:
    """A process that the supervisor keeps alive.

    :param name: unique; also the name of its log.
    :param command: program and arguments; never a secret, which everybody on the machine could read.
    :param health: what its clients rely on.
    :param environment: beside what every service has.
    :param directory: where it runs; default: the checkout.
    :param ports: the keys of its ports in the settings.
    :param needs: steps of `up` that must be done before it starts.
    :param stage: services of the highest stage stop first.
    :param start_timeout_s: how long it may take to become healthy.
    :param stop_timeout_s: how long it may take to stop before it is killed.
    :param stop_signal: asks it to stop.
    """

    name: str
    command: tuple[str, ...]
    health: Check
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None
    ports: tuple[str, ...] = ()
    needs: frozenset[str] = frozenset()
    stage: int = 0
    # Two cores that also start everything else are slow; whoever waits sees what for.
    start_timeout_s: float = 180.0
    stop_timeout_s: float = 10.0
    stop_signal: str = "TERM"


@dataclass(frozen=True)
class Platform:
    """Everything that a service can be made from."""

    settings: Settings
    paths: Paths
    credentials: Credentials

    @property
    def ports(self) -> Ports:
        """The ports of the embedded platform.

        :raises StackError: the settings are those of a cluster.
        """
        if self.settings.ports is None:
            raise StackError(
                f"the settings of {self.settings.env!r} describe a cluster, which is not started from here: "
                "unset PODIUM_ENV, or see k8s/README.md"
            )
        return self.settings.ports

    @property
    def own_cluster(self) -> bool:
        """Whether pods run on a cluster of the user's, not on the dev cluster."""
        return self.settings.kubernetes.kubeconfig is not None

    @property
    def kubeconfig(self) -> Path:
        """How to reach the cluster that runs the pods."""
        return self.settings.kubernetes.kubeconfig or self.paths.kubeconfig

    @cached_property
    def environments(self) -> Environments:
        """The environments of the services and the images."""
        return Environments(self.paths, self.settings)

    @cached_property
    def java(self) -> Java:
        """The Java of Kafka and Spark."""
        return find(self.paths.cache)

    @property
    def python(self) -> str:
        """The launcher's interpreter, which the dev cluster runs in too."""
        return str(self.environments.launcher.python)

    def base_environment(self) -> dict[str, str]:
        """What every service's environment begins with."""
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        overrides = {name: value for name, value in os.environ.items() if name.startswith("PODIUM_")}
        overrides.pop(SERVICE, None)
        return (
            inherited
            | overrides
            | {
                "PODIUM_HOME": str(self.paths.home),
                "PODIUM_CACHE": str(self.paths.cache),
                "NO_PROXY": "127.0.0.1,localhost",
                "PYTHONUNBUFFERED": "1",
                # Python processes that set their title would overwrite the environment that the mark is read from.
                "SPT_NOENV": "1",
                # How `down` finds what a crash of the supervisor has left behind.
                MARKER: str(self.paths.home),
            }
        )

    def checkout_python(self) -> dict[str, str]:
        """The environment that lets a Python service import the checkout."""
        return {"PYTHONPATH": str(self.paths.checkout)}

    def data(self, name: str) -> Path:
        """The data folder of a service."""
        return self.paths.data / name
