"""A real cluster for the pipeline: its namespace, rights and definitions, and the images of the jobs."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from include.config import load_settings
from include.stack.credentials import Credentials
from include.stack.paths import Paths
from include.stack.service import Platform
from include.stack.services import spark

ROOT = Path(__file__).parents[2]
DEFINITIONS = ROOT / "include" / "devcluster" / "controllers" / "crds"
OVERLAY = ROOT / "k8s" / "overlays" / "laptop"
USER = "10001"
# One small node for everything: it carries the label of one pool, and hardly more than one job at a time.
SMALL = {
    "PODIUM_NODE_POOLS__GENERAL__NODE_SELECTOR": '{"podium.dev/pool": "gpu-a100"}',
    "PODIUM_NODE_POOLS__SPARK__NODE_SELECTOR": '{"podium.dev/pool": "gpu-a100"}',
    "PODIUM_FEATURES__DRIVER_CORES": "1",
    "PODIUM_RECOMMENDER__WORKER_CPU": "250m",
    "PODIUM_RECOMMENDER__WORKER_MEMORY": "2Gi",
    "PODIUM_INGEST__MAX_ACTIVE_RUNS": "1",
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
        for name, venv in platform.environments.images.items():
            python = venv.python.resolve().parents[1]
            env = {"PATH": f"{venv.bin}:/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": "/app", "PYTHONUNBUFFERED": "1"}
            content = {
                "/etc/passwd": passwd,
                str(python): python,
                str(venv.path): venv.path,
                "/app/include": ROOT / "include",
            }
            if name == spark.IMAGE:
                env |= spark.environment(platform)
                content |= self._java(platform) | self._spark(platform, folder)
            # Last: the environments may lie below one of them, and layers bring their parents' modes.
            content |= {"/tmp": writable, "/home/podium": writable}
            self._make(platform.settings.images[name], env, content)

    @staticmethod
    def _java(platform: Platform) -> dict[str, Path]:
        home = platform.java.home.resolve()
        settings = (home / "conf" / "security" / "java.security").resolve().parents[1]
        return {str(home): home, str(settings): settings}

    @staticmethod
    def _spark(platform: Platform, folder: Path) -> dict[str, Path]:
        conf = folder / "spark-conf"
        conf.mkdir()
        (conf / "spark-defaults.conf").write_text(spark.defaults(platform))
        jars = platform.environments.spark_jars.path
        return {spark.CONFIG_IN_IMAGE: conf, str(jars): jars}

    def _make(self, image: str, env: dict[str, str], content: dict[str, Path]) -> None:
        variables = [word for key, value in env.items() for word in ("--env", f"{key}={value}")]
        layers = [f"{source}:{target}" for target, source in content.items()]
        command = [str(self.program), *variables, "--user", USER, "--workdir", "/app", image, str(self.base), *layers]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def prepared(admin: Path, host_address: str, builder: ImageBuilder | None, folder: Path) -> Iterator[dict[str, str]]:
    """Yield the settings of a platform that uses this cluster; afterwards its namespace is gone.

    :param admin: kubeconfig with an admin's rights; the platform itself gets a token of `podium-airflow`.
    :param host_address: this machine's, as the pods see it.
    :param builder: makes the images; None when the cluster has them.
    :param folder: for what is made on the way.
    """
    if builder:
        paths = Paths.from_environment()
        builder.build(Platform(load_settings("local"), paths, Credentials()), folder)

    def kubectl(*arguments: str) -> str:
        command = ["kubectl", "--kubeconfig", str(admin), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    kubectl("label", "nodes", "--all", "--overwrite", "podium.dev/pool=gpu-a100")
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(DEFINITIONS))
    kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(DEFINITIONS))
    try:
        kubectl("apply", "--server-side", "-k", str(OVERLAY))
        token = kubectl("-n", "podium", "create", "token", "podium-airflow", "--duration=4h").strip()
        config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
        config["users"][0]["user"] = {"token": token}
        kubeconfig = folder / "kubeconfig"
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(yaml.safe_dump(config))
        yield SMALL | {
            "PODIUM_KUBERNETES__KUBECONFIG": str(kubeconfig),
            "PODIUM_KUBERNETES__HOST_ADDRESS": host_address,
        }
    finally:
        kubectl("delete", "namespace", "podium", "--ignore-not-found", "--timeout=120s")
