"""Every environment of the platform: its own, and one an image. Built from locks, kept in the cache."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from include.config import Settings
from include.stack.errors import BuildError
from include.stack.graph import Report, Step
from include.stack.jars import Jars
from include.stack.paths import Paths
from include.stack.venvs import SourceBuild, Spawner, Venv

# Horovod has no wheel. It is compiled against the TensorFlow of its environment, for gloo alone; its CMake files are
# older than what current CMake accepts unasked.
HOROVOD = SourceBuild(
    "horovod",
    {
        "HOROVOD_WITH_TENSORFLOW": "1",
        "HOROVOD_WITHOUT_PYTORCH": "1",
        "HOROVOD_WITHOUT_MXNET": "1",
        "HOROVOD_WITH_GLOO": "1",
        "HOROVOD_WITHOUT_MPI": "1",
        "CMAKE_POLICY_VERSION_MINIMUM": "3.5",
        "MAKEFLAGS": "-j2",
    },
)
COMPILED = {"recommender": HOROVOD}


@dataclass(frozen=True)
class Environments:
    """The environments of one checkout and one cache."""

    paths: Paths
    settings: Settings

    @cached_property
    def launcher(self) -> Venv:
        """The launcher, the dev cluster and its controllers."""
        return Venv("stack", self.paths.checkout / "include" / "stack" / "requirements.lock", self.paths.cache)

    @cached_property
    def airflow(self) -> Venv:
        """Airflow's four processes."""
        return Venv("airflow", self.paths.checkout / "requirements.lock", self.paths.cache)

    @cached_property
    def mlflow(self) -> Venv:
        """The tracking server."""
        lock = self.paths.checkout / "include" / "stack" / "mlflow" / "requirements.lock"
        return Venv("mlflow", lock, self.paths.cache)

    @cached_property
    def tests(self) -> Venv:
        """Lint, types, and the tests of plugins and DAGs."""
        return Venv("tests", self.paths.checkout / "tests" / "requirements.lock", self.paths.cache)

    @cached_property
    def pytest(self) -> Venv:
        """pytest for the environments that have none."""
        return Venv("pytest", self.paths.checkout / "tests" / "overlay" / "requirements.lock", self.paths.cache)

    @cached_property
    def benchmarks(self) -> Venv:
        """The engines that benchmarks compare with."""
        return Venv("benchmarks", self.paths.checkout / "benchmarks" / "requirements.lock", self.paths.cache)

    @cached_property
    def images(self) -> dict[str, Venv]:
        """One an image of the settings, by the image's name."""
        folder = self.paths.checkout / "include" / "jobs"
        return {
            name: Venv(name, folder / name / "requirements.lock", self.paths.cache, COMPILED.get(name))
            for name in self.settings.images
        }

    @cached_property
    def kafka_jars(self) -> Jars:
        """The broker."""
        return Jars("kafka", self.paths.checkout / "include" / "stack" / "kafka" / "jars.lock", self.paths.cache)

    @cached_property
    def spark_jars(self) -> Jars:
        """What Spark needs beside its own: Iceberg, the catalog's driver, S3."""
        return Jars("features", self.paths.checkout / "include" / "jobs" / "features" / "jars.lock", self.paths.cache)

    def platform(self) -> list[Venv | Jars]:
        """All that the running platform needs beside the launcher; what starts latest is made last."""
        images = self.images.values()
        return [self.kafka_jars, self.spark_jars, self.airflow, self.mlflow, *images]

    def steps(self, parts: Iterable[Venv | Jars], spawner: Spawner) -> list[Step]:
        """Steps that make environments and folders of jars; those that are there take no time.

        What is compiled has a lane of its own, the others follow one another: downloads and compilation overlap.
        """
        parts = list(parts)
        steps = [
            Step(step_of(part), self._fetch(part, spawner), lane="jars")
            if isinstance(part, Jars)
            else Step(step_of(part), self._build(part, spawner), lane="compile" if part.source_build else "install")
            for part in parts
        ]
        venvs = [part for part in parts if isinstance(part, Venv)]
        if not all(venv.complete for venv in venvs):
            steps.append(Step("downloads", self._prune(spawner), needs=frozenset(map(step_of, venvs))))
        return steps

    def _build(self, venv: Venv, spawner: Spawner) -> Callable[[Report], str]:
        uv = self.launcher.bin / "uv"

        def build(report: Report) -> str:
            try:
                venv.build(uv, self.paths.logs / "setup" / f"{venv.name}.log", spawner, report)
            except BuildError as error:
                raise BuildError(f"the environment of {venv.name} cannot be made: {error}") from error
            return "environment ready"

        return build

    def _prune(self, spawner: Spawner) -> Callable[[Report], str]:
        """Drop what uv keeps and no environment needs: builds of Spark and Horovod leave 3 GB."""
        command = [str(self.launcher.bin / "uv"), "cache", "prune", "--cache-dir", str(self.paths.cache / "uv")]

        def prune(report: Report) -> str:
            report("dropping what is not needed any more")
            # Another set-up may be using it: then that one tidies up.
            environment = os.environ | {"UV_LOCK_TIMEOUT": "5"}
            try:
                spawner.run(command, self.paths.logs / "setup" / "downloads.log", env=environment)
            except BuildError as error:
                if spawner.cancelled:
                    raise
                return f"not tidied up: {error}"
            return "tidied up"

        return prune

    def _fetch(self, jars: Jars, spawner: Spawner) -> Callable[[Report], str]:
        def fetch(report: Report) -> str:
            jars.build(report, lambda: spawner.cancelled)
            return "jars ready"

        return fetch


def step_of(thing: Venv | Jars) -> str:
    """The name of the step that makes an environment or a folder of jars."""
    return f"{'env' if isinstance(thing, Venv) else 'jars'}:{thing.name}"
