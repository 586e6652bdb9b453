"""Tags the snapshots that registered models and the published view of the features need, so that no expiry takes them.

A model says in its run's tags `snapshot.<table>` what it has read. A version that is deleted in MLflow frees its
snapshots: its tags go with the next run. So do those of the view when another one is published.
"""

import logging
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Self

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table
from pyiceberg.table.refs import SnapshotRefType
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_random_exponential

from include.jobs.lake.commits import COMMIT_DEADLINE_S
from include.jobs.lake.connections import mlflow_tracking
from include.jobs.lake.errors import LakeError
from include.jobs.lake.feature_view import viewed_snapshots

#: Tags of the form `model.<name>.<version>` are this module's own.
TAG_PREFIX: Final = "model."
SNAPSHOT_TAG: Final = "snapshot."
#: The tag of what the published view names; this module's own too.
VIEW_TAG: Final = "view.features.serving"

log = logging.getLogger(__name__)


class ModelsUnknownError(LakeError):
    """MLflow does not tell which models there are, so nothing may be expired."""


@dataclass(frozen=True, slots=True)
class ModelSnapshots:
    """A registered version of a model, and the snapshots that it was made from, by table."""

    name: str
    version: str
    run_id: str
    snapshots: Mapping[str, int]

    @property
    def tag(self) -> str:
        """The tag of its snapshots."""
        return f"{TAG_PREFIX}{self.name}.{self.version}"


class Models:
    """Every version of every registered model."""

    def __init__(self, client: MlflowClient) -> None:
        self.client = client

    @classmethod
    def connect(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Those of `$MLFLOW_TRACKING_URI`.

        Raises:
            ConnectionSettingsError: see `mlflow_tracking`.
        """
        address = mlflow_tracking(environ)
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        return cls(MlflowClient(tracking_uri=address, registry_uri=address))

    def snapshots(self) -> list[ModelSnapshots]:
        """What each version was made from.

        Raises:
            ModelsUnknownError: MLflow cannot be asked, or a version's run is gone or names no snapshot number.
        """
        try:
            return [self._snapshots(version) for version in self._versions()]
        except MlflowException as error:
            raise ModelsUnknownError(
                f"MLflow does not tell what its models were made from ({error.message}): mend that first; which "
                "snapshots are needed is not known, and none is expired"
            ) from error

    def _versions(self) -> Iterator[ModelVersion]:
        token: str | None = None
        while True:
            page = self.client.search_model_versions(page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _snapshots(self, version: ModelVersion) -> ModelSnapshots:
        tags = self.client.get_run(version.run_id).data.tags if version.run_id else {}
        try:
            found = {
                name.removeprefix(SNAPSHOT_TAG): int(value)
                for name, value in tags.items()
                if name.startswith(SNAPSHOT_TAG)
            }
        except ValueError as error:
            raise ModelsUnknownError(
                f"version {version.version} of model {version.name} has a tag {SNAPSHOT_TAG}… that is no snapshot id "
                f"({error}): correct it in MLflow"
            ) from error
        return ModelSnapshots(version.name, str(version.version), version.run_id or "", found)


@dataclass(frozen=True, slots=True)
class Protected:
    """Tags set and taken away, and what no longer exists though it is needed: `table@snapshot (tag)`."""

    set: int
    removed: int
    missing: list[str]


def protect(catalog: SqlCatalog, tables: list[str], models: list[ModelSnapshots]) -> Protected:
    """Bring the tags of tables to what the models and the view need. Safe to repeat, and beside writers."""
    wanted: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for table, snapshot_id in viewed_snapshots(catalog).items():
        wanted[table][VIEW_TAG] = snapshot_id
    for model in models:
        for table, snapshot_id in model.snapshots.items():
            wanted[table][model.tag] = snapshot_id
    done = 0, 0
    missing: list[str] = []
    for name in tables:
        changed, removed, gone = _tag(catalog, name, wanted[name])
        done = done[0] + changed, done[1] + removed
        missing += gone
    if missing:
        log.warning("snapshots that are needed and gone already: %s", ", ".join(missing))
    return Protected(*done, missing)


@retry(
    retry=retry_if_exception_type(CommitFailedException),
    stop=stop_after_delay(COMMIT_DEADLINE_S),
    wait=wait_random_exponential(0.1, 5),
    reraise=True,
)
def _tag(catalog: SqlCatalog, name: str, wanted: Mapping[str, int]) -> tuple[int, int, list[str]]:
    table = catalog.load_table(name)
    there = tags_of(table)
    known = {snapshot.snapshot_id for snapshot in table.snapshots()}
    new = {tag: number for tag, number in wanted.items() if number in known and there.get(tag) != number}
    old = [tag for tag in there if tag not in wanted]
    if new or old:
        with table.manage_snapshots() as changes:
            for tag in old:
                changes.remove_tag(tag)
            for tag, number in new.items():
                changes.create_tag(number, tag)
    missing = [f"{name}@{number} ({tag})" for tag, number in wanted.items() if number not in known]
    return len(new), len(old), missing


def tags_of(table: Table) -> dict[str, int]:
    """The snapshots that models and the view keep, by tag."""
    return {
        name: ref.snapshot_id
        for name, ref in table.refs().items()
        if ref.snapshot_ref_type is SnapshotRefType.TAG and (name.startswith(TAG_PREFIX) or name == VIEW_TAG)
    }
