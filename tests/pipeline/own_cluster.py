"""A real cluster for the pipeline: its namespace, rights and definitions, and the images of the jobs."""

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
import yaml

from include.config import load_settings
from include.stack.credentials import Credentials
from include.stack.paths import Paths
from include.stack.service import Platform
from include.stack.services import spark
from include.stack.venvs import Venv

ROOT = Path(__file__).parents[2]
DEFINITIONS = ROOT / "include" / "devcluster" / "controllers" / "crds"
MANIFESTS = ROOT / "k8s"
GENERATED = "controller-gen.kubebuilder.io/version"
SSH = ROOT / "include" / "jobs" / "recommender" / "ssh"
USER = "10001"
# As in the Dockerfiles.
ENTRYPOINTS = {image: ["python", "-m", "include.jobs.features.entrypoint"] for image in spark.IMAGES}
# One small node for everything: it carries the label of one pool, and hardly more than one job at a time.
SMALL = {
    "PODIUM_NODE_POOLS__GENERAL__NODE_SELECTOR": '{"podium.dev/pool": "gpu-a100"}',
    "PODIUM_NODE_POOLS__SPARK__NODE_SELECTOR": '{"podium.dev/pool": "gpu-a100"}',
    "PODIUM_FEATURES__DRIVER_CORES": "1",
    "PODIUM_FEATURES__CORE_REQUEST": "250m",
    "PODIUM_UPKEEP__CORE_REQUEST": "250m",
    "PODIUM_RECOMMENDER__WORKER_CPU": "250m",
    "PODIUM_RECOMMENDER__WORKER_MEMORY": "2Gi",
    "PODIUM_INGEST__TOPICS__TRANSACTIONS__MAX_ACTIVE_RUNS": "1",
    "PODIUM_INGEST__TOPICS__TRANSACTIONS__PROCESSES": "1",
}


@dataclass(frozen=True)
class ImageBuilder:
    """Makes the images of the settings from the environments in the cache, as the Dockerfiles make them from locks.

    :param program: makes an image from folders, one layer each.
    :param base: the root file system that every image begins with.
    """

    program: Path
    base: Path

    def build(self, platform: Platform, folder: Path) -> None:
        """Make all of them."""
        passwd = folder / "passwd"
        passwd.write_text((self.base / "etc/passwd").read_text() + f"podium:x:{USER}:{USER}::/home/podium:/bin/sh\n")
        writable = folder / "writable"
        writable.mkdir()
        writable.chmod(0o1777)

        def make(name: str, venv: Venv) -> None:
            env, content = self._content(platform, name, venv, {"/etc/passwd": passwd})
            # Last: the environments may lie below one of them, and layers bring their parents' modes.
            content |= {"/tmp": writable, "/home/podium": writable}
            self._make(platform.settings.images[name], ENTRYPOINTS.get(name, []), env, content)

        # A gigabyte each, and the program uses one core.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(make, *zip(*platform.environments.images.items(), strict=True)))

    def _content(
        self, platform: Platform, name: str, venv: Venv, content: dict[str, Path]
    ) -> tuple[dict[str, str], dict[str, Path]]:
        """The environment of an image, and what lies where in it beside `content`."""
        python = venv.python.resolve().parents[1]
        env = {"PATH": f"{venv.bin}:/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": "/app", "PYTHONUNBUFFERED": "1"}
        content = content | {str(python): python, str(venv.path): venv.path, "/app/include": ROOT / "include"}
        if name in spark.IMAGES:
            env |= {"JAVA_HOME": str(platform.java.home.resolve())}
            content |= self._java(platform) | self._jars(platform, name)
        if name == "recommender":
            content |= {
                "/etc/podium/sshd_config": SSH / "sshd_config",
                "/etc/ssh/ssh_config.d/podium.conf": SSH / "ssh_config",
            }
        return env, content

    @staticmethod
    def _java(platform: Platform) -> dict[str, Path]:
        home = platform.java.home.resolve()
        settings = (home / "conf" / "security" / "java.security").resolve().parents[1]
        return {str(home): home, str(settings): settings}

    @staticmethod
    def _jars(platform: Platform, image: str) -> dict[str, Path]:
        """Beside Spark's own, which come with its package."""
        packages = platform.environments.images[image].site_packages
        return {str(packages / "pyspark" / "jars"): platform.environments.spark_jars.path}

    def _make(self, image: str, entrypoint: list[str], env: dict[str, str], content: dict[str, Path]) -> None:
        variables = [word for key, value in env.items() for word in ("--env", f"{key}={value}")]
        layers = [f"{source}:{target}" for target, source in content.items()]
        options = ["--entrypoint", json.dumps(entrypoint), "--user", USER, "--workdir", "/app"]
        command = [str(self.program), *variables, *options, image, str(self.base), *layers]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@dataclass(frozen=True)
class OwnCluster:
    """A real cluster.

    :param admin: kubeconfig with an admin's rights; the platform itself gets a token of `podium-airflow`.
    :param host_address: this machine's, as the pods see it.
    :param builder: makes the images; None when the cluster has them.
    :param operators: whether it runs the Spark operator, the MPI operator and KServe.
    """

    admin: Path
    host_address: str
    builder: ImageBuilder | None
    operators: bool

    @classmethod
    def from_options(cls, options: pytest.Config) -> Self | None:
        """The cluster of the command line; None when it names none."""
        admin, address = options.getoption("--kubeconfig"), options.getoption("--host-address")
        if admin is None:
            return None
        program, base = options.getoption("--image-builder"), options.getoption("--image-base")
        builder = ImageBuilder(Path(program), Path(base)) if program else None
        return cls(Path(admin), address, builder, options.getoption("--operators"))

    def kubectl(self, *arguments: str) -> str:
        """Run a command of the admin's; its output.

        :raises subprocess.CalledProcessError: it failed.
        """
        command = ["kubectl", "--kubeconfig", str(self.admin), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def missing_operators(self) -> list[str]:
        """Definitions that are not there, or are the minimal ones of this repository, which no generator has made."""
        wanted = [row["metadata"]["name"] for file in DEFINITIONS.iterdir() for row in yaml.safe_load_all(file.open())]
        found = json.loads(self.kubectl("get", "customresourcedefinitions", "-o", "json"))["items"]
        theirs = {row["metadata"]["name"] for row in found if GENERATED in (row["metadata"].get("annotations") or {})}
        return sorted(set(wanted) - theirs)

    @contextmanager
    def prepared(self, folder: Path) -> Iterator[dict[str, str]]:
        """Yield the settings of a platform that uses this cluster; afterwards its namespace is gone.

        :param folder: for what is made on the way.
        """
        if self.builder:
            paths = Paths.from_environment()
            self.builder.build(Platform(load_settings("local"), paths, Credentials()), folder)
        self.kubectl("label", "nodes", "--all", "--overwrite", "podium.dev/pool=gpu-a100")
        if not self.operators:
            self.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(DEFINITIONS))
            self.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(DEFINITIONS))
        try:
            self.kubectl("apply", "--server-side", "-k", str(MANIFESTS / "overlays" / "laptop"))
            if self.operators:
                self.kubectl("apply", "--server-side", "-k", str(MANIFESTS / "operators"))
            yield SMALL | {
                "PODIUM_KUBERNETES__KUBECONFIG": str(self._restricted(folder / "kubeconfig")),
                "PODIUM_KUBERNETES__HOST_ADDRESS": self.host_address,
                "PODIUM_KUBERNETES__OPERATORS": json.dumps(self.operators),
            }
        finally:
            self.kubectl("delete", "namespace", "podium", "--ignore-not-found", "--timeout=120s")

    def _restricted(self, kubeconfig: Path) -> Path:
        """Write a kubeconfig with the rights of `podium-airflow`."""
        token = self.kubectl("-n", "podium", "create", "token", "podium-airflow", "--duration=4h").strip()
        config = json.loads(self.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
        config["users"][0]["user"] = {"token": token}
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(yaml.safe_dump(config))
        return kubeconfig
