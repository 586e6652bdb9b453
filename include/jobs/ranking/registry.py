"""The model registry: MLflow runs, versions and aliases of a registered model."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from mlflow.artifacts import download_artifacts
from mlflow.entities import Metric, Param, RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from include.jobs.lake.connections import mlflow_tracking
from include.jobs.ranking import fingerprints
from include.jobs.ranking.errors import RankingError
from include.jobs.ranking.model import RankerModel

CANDIDATE = "candidate"
CHAMPION = "champion"
#: Where a run keeps the model's files.
ARTIFACT_PATH = "model"
#: The tag by which a repeated job finds the version that it has registered already.
RUN_KEY_TAG = "podium.run_key"
#: The tag of a version that names the published view of the features which its model serves from.
FEATURE_VIEW_TAG = "podium.feature_view"
#: The tag of a version that says when its files were last written anew, without a household that was erased.
ERASED_TAG = "podium.erased_at"


class RegistryError(RankingError):
    """MLflow cannot be reached, or does not hold what was asked for."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run logs: all of it is visible in MLflow's UI.

    Attributes:
        name: the run's name.
        parameters: what went in.
        metrics: what came out; a list of (step, value) each.
        tags: seed, image, snapshots, …
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, list[tuple[int, float]]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


class Registry:
    """One registered model and the experiment of its runs."""

    def __init__(self, client: MlflowClient, model_name: str) -> None:
        self._client = client
        self.model_name = model_name

    @classmethod
    def connect(cls, model_name: str, environ: Mapping[str, str] | None = None) -> Self:
        """The registry at `$MLFLOW_TRACKING_URI`.

        Raises:
            ConnectionSettingsError: see `mlflow_tracking`.
        """
        address = mlflow_tracking(environ)
        # Progress bars and farewells are noise in a pod's log.
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        return cls(MlflowClient(tracking_uri=address, registry_uri=address), model_name)

    def version(self, version: str) -> ModelVersion:
        """A version by number, or by `@alias`.

        Raises:
            RegistryError: there is none.
        """
        try:
            if version.startswith("@"):
                return self._client.get_model_version_by_alias(self.model_name, version[1:])
            return self._client.get_model_version(self.model_name, version)
        except MlflowException as error:
            raise RegistryError(
                f"model {self.model_name} has no version {version} ({error.message}): train one first, or look at "
                "its versions in MLflow"
            ) from error

    def alias(self, alias: str) -> str | None:
        """The version that an alias names, or None."""
        try:
            return str(self._client.get_model_version_by_alias(self.model_name, alias).version)
        except MlflowException as error:
            if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                return None
            raise RegistryError(f"alias {alias} of model {self.model_name} cannot be read: {error.message}") from error

    def set_alias(self, alias: str, version: str) -> None:
        """Point an alias at a version."""
        self._client.set_registered_model_alias(self.model_name, alias, version)

    def tag_version(self, version: str, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        for name, value in tags.items():
            self._client.set_model_version_tag(self.model_name, version, name, value)

    def erased_at(self, version: str) -> str:
        """When an erasure has last written a version's files anew; empty when none has."""
        return str(self.version(version).tags.get(ERASED_TAG, ""))

    def run_tags(self, version: str) -> dict[str, str]:
        """The tags of the run that made a version."""
        return dict(self._client.get_run(self._run_id(version)).data.tags)

    def log_metrics(self, version: str, metrics: Mapping[str, float]) -> None:
        """Add metrics to the run that made a version."""
        run_id = self._run_id(version)
        for name, value in metrics.items():
            self._client.log_metric(run_id, name, value)

    def load(self, version: str) -> RankerModel:
        """Download and read the model of a version.

        Raises:
            RegistryError: its files cannot be fetched.
            ModelFormatError: they cannot be read.
        """
        return load_uri(f"models:/{self.model_name}/{self.version(version).version}")

    def register(
        self, experiment: str, run_key: str, record: RunRecord, model: RankerModel, alias: str | None = None
    ) -> ModelVersion:
        """Log a run with the model's files and register a version of it; then set the alias.

        Repeating it with the same `run_key` gives the version of the first time: a job that died between
        registering and reporting registers nothing twice.
        """
        found = self._client.search_model_versions(f"name = '{self.model_name}' and tag.`{RUN_KEY_TAG}` = '{run_key}'")
        version = found[0] if found else self._register(experiment, run_key, record, model)
        if alias is not None:
            self.set_alias(alias, str(version.version))
        return version

    def _register(self, experiment: str, run_key: str, record: RunRecord, model: RankerModel) -> ModelVersion:
        try:
            run = self._client.create_run(
                self._experiment(experiment), tags={**record.tags, RUN_KEY_TAG: run_key}, run_name=record.name
            )
            run_id = run.info.run_id
            self._client.log_batch(
                run_id,
                metrics=[
                    Metric(name, value, run.info.start_time, step)
                    for name, points in record.metrics.items()
                    for step, value in points
                ],
                params=[Param(name, str(value)) for name, value in record.parameters.items()],
                tags=[RunTag("podium.model_name", self.model_name)],
            )
            with TemporaryDirectory(prefix="podium-model-") as folder:
                model.save(Path(folder))
                hashes = fingerprints.of_files(Path(folder))
                self._client.log_batch(run_id, tags=[RunTag(name, value) for name, value in hashes.items()])
                self._client.log_artifacts(run_id, folder, ARTIFACT_PATH)
            self._client.set_terminated(run_id)
            self._ensure_model()
            return self._client.create_model_version(
                self.model_name,
                source=f"{run.info.artifact_uri}/{ARTIFACT_PATH}",
                run_id=run_id,
                tags={RUN_KEY_TAG: run_key} | ({FEATURE_VIEW_TAG: model.feature_view} if model.feature_view else {}),
                await_creation_for=0,
            )
        except MlflowException as error:
            raise RegistryError(f"model {self.model_name} cannot be logged to MLflow: {error.message}") from error

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return self._experiment(name)

    def _ensure_model(self) -> None:
        try:
            self._client.create_registered_model(self.model_name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _run_id(self, version: str) -> str:
        return _run_id_of(self.version(version))


def identity_from_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Who runs this, as the operator told the pod; what is unset is left out."""
    environ = os.environ if environ is None else environ
    names = {
        "dag_id": "PODIUM_DAG_ID",
        "run_id": "PODIUM_RUN_ID",
        "image": "PODIUM_IMAGE",
        "code_version": "PODIUM_CODE_VERSION",
    }
    return {name: environ[variable] for name, variable in names.items() if environ.get(variable)}


def load_uri(uri: str) -> RankerModel:
    """Download and read a model: `models:/name/3`, `models:/name@alias`, `runs:/…/model` or a folder of one's own.

    Raises:
        RegistryError: its files cannot be fetched, or it names no run.
        TamperedModelError: they are not those that its run has made.
        ModelFormatError: they cannot be read.
    """
    with TemporaryDirectory(prefix="podium-model-") as folder:
        try:
            run_id = _run_of(uri)
            tags = MlflowClient().get_run(run_id).data.tags if run_id else {}
            path = Path(download_artifacts(artifact_uri=uri, dst_path=folder))
        except (MlflowException, OSError) as error:
            raise RegistryError(f"model {uri} cannot be downloaded: {error}") from error
        if run_id is None:
            return RankerModel.load(path)
        fingerprints.check_files(path, tags, run_id)
        model = RankerModel.load(path)
        fingerprints.check_weights(model.ranker, tags, run_id)
        return model


def _run_of(uri: str) -> str | None:
    """The run that made a model; None for a folder."""
    scheme, _, rest = uri.partition(":/")
    if scheme == "runs":
        return rest.partition("/")[0]
    if scheme != "models":
        return None
    name, _, alias = rest.partition("@")
    name, _, number = name.partition("/")
    client = MlflowClient()
    version = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
    return _run_id_of(version)


def _run_id_of(version: ModelVersion) -> str:
    if not version.run_id:
        raise RegistryError(
            f"version {version.version} of {version.name} names no run: it was not registered by Podium"
        )
    return str(version.run_id)
