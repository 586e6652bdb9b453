"""Erasing a household from models: flagged in MLflow, left out of the files that they serve from.

A model keeps, for each household it knows, what it may recommend. These files are written anew without the household.
What the network has learned from its rows cannot be taken out; so the versions that saw them are flagged, and whoever
answers for the model decides when it is trained again.
"""

import dataclasses
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import pyarrow as pa
from mlflow.entities import LifecycleStage, Run, ViewType
from mlflow.exceptions import MlflowException
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.lake.erasures import HOUSEHOLD
from include.jobs.lake.errors import JobError
from include.jobs.ranking import fingerprints
from include.jobs.ranking.errors import ModelFormatError
from include.jobs.ranking.model import KIND, Candidates, RankerModel
from include.jobs.ranking.registry import ARTIFACT_PATH, ERASED_TAG
from include.jobs.upkeep.erase_tables import Rewritten, holds
from include.jobs.upkeep.eyes import Seen
from include.jobs.upkeep.protect import SNAPSHOT_TAG, Models, ModelSnapshots
from include.jobs.upkeep.search import Search
from include.jobs.upkeep.tables import all_tables

#: Tag of a version that has seen an erased household: `podium.erasure.<pseudonym>`, its value when it was erased.
FLAG: Final = "podium.erasure."

log = logging.getLogger(__name__)


class ArtifactError(JobError):
    """MLflow does not give or take the files of a model."""


class _UnknownKind(Exception):
    """Nothing here can read a model."""


def flag_models(catalog: SqlCatalog, models: Models, household_id: int, pseudonym: str, moment: str) -> list[str]:
    """Tag the versions that were made from snapshots with the household, or from ones that are gone; `name/version`.

    Call it before anything is erased: afterwards the snapshots no longer tell.
    """
    tables = {name: catalog.load_table(name) for name in all_tables(catalog)}

    def saw(model: ModelSnapshots) -> bool:
        for name, number in model.snapshots.items():
            table = tables.get(name)
            if table is None or table.snapshot_by_id(number) is None:
                return True
            if HOUSEHOLD in table.schema().column_names and holds(table, household_id, number):
                return True
        return False

    flagged = []
    for model in models.snapshots():
        version = models.client.get_model_version(model.name, model.version)
        if FLAG + pseudonym in version.tags:
            flagged.append(f"{model.name}/{model.version}")
        elif saw(model):
            models.client.set_model_version_tag(model.name, model.version, FLAG + pseudonym, moment)
            flagged.append(f"{model.name}/{model.version}")
    return flagged


def follow_tags(models: Models, rewritten: list[Rewritten]) -> None:
    """Let the runs of models name the snapshots that stand for theirs now, and keep the number of before."""
    moved: Mapping[tuple[str, str], Rewritten] = {(each.tag, each.table): each for each in rewritten}
    for model in models.snapshots():
        for table in model.snapshots:
            each = moved.get((model.tag, table))
            if each is not None and model.run_id:
                models.client.set_tag(model.run_id, f"erased_{SNAPSHOT_TAG}{table}", str(each.before))
                models.client.set_tag(model.run_id, f"{SNAPSHOT_TAG}{table}", str(each.after))


@dataclass(slots=True)
class Artifacts:
    """What became of the models among the runs' files: ids of runs, and models that are of no known kind, with why."""

    rewritten: list[str] = field(default_factory=list)
    not_read: dict[str, str] = field(default_factory=dict)


def erase_artifacts(models: Models, household_id: int) -> Artifacts:
    """Write the files of every run's model anew that know the household. Each by the kind that its manifest names.

    A model that nobody here can read is named with the reason, and is no obstacle: the proof searches its files, and
    whoever made it knows what to do.

    Raises:
        ArtifactError: MLflow does not give or take a run's files.
    """
    done, named = Artifacts(), versions_of_runs(models)
    for run in runs(models):
        run_id = run.info.run_id
        what = f"run {run_id} ({named.get(run_id, 'not registered')})"
        try:
            with TemporaryDirectory(prefix="podium-model-") as folder:
                path = _fetch(models, run_id, Path(folder))
                if path is None:
                    continue
                without = Path(folder) / "without"
                without.mkdir()
                if not _eraser(path)(path, without, household_id):
                    continue
                allowed = fingerprints.replacing(path, without, run.data.tags)
                _tag(models, run, allowed)
                models.client.log_artifacts(run_id, str(without), ARTIFACT_PATH)
                _tag(models, run, fingerprints.of_files(without) if allowed else {})
        except (_UnknownKind, ModelFormatError) as error:
            done.not_read[what] = str(error)
            log.warning("the model of %s cannot be read: %s", what, error)
        except (MlflowException, OSError) as error:
            raise ArtifactError(
                f"the model of {what} cannot be written anew: MLflow does not give or take its files "
                f"({type(error).__name__}: {error}). Mend that, then run this again"
            ) from error
        else:
            log.info("wrote the model of %s anew", what)
            done.rewritten.append(run_id)
    return done


def _tag(models: Models, run: Run, tags: Mapping[str, str]) -> None:
    # MLflow takes no tag of a run that was deleted, whose model nobody serves.
    if run.info.lifecycle_stage == LifecycleStage.ACTIVE:
        for name, value in tags.items():
            models.client.set_tag(run.info.run_id, name, value)


def announce(models: Models, moment: str) -> None:
    """Tell whoever serves a version that its files were written anew: servers look at this tag."""
    for model in models.snapshots():
        models.client.set_model_version_tag(model.name, model.version, ERASED_TAG, moment)


def search_runs(models: Models, search: Search) -> None:
    """Search all that MLflow keeps of every run: parameters, tags, and every file."""
    named = versions_of_runs(models)
    for run in runs(models):
        run_id = run.info.run_id
        what = f"run {run_id} ({named.get(run_id, 'not registered')})"
        search.places["runs"] += 1
        told = {**run.data.params, **run.data.tags}
        for name, value in told.items():
            search.note(f"{what}, {name}", search.eyes.look(f"{name}={value}".encode()))
        with TemporaryDirectory(prefix="podium-run-") as folder:
            try:
                path = Path(models.client.download_artifacts(run_id, "", folder))
            except (MlflowException, OSError) as error:
                search.note(f"{what}, its files: {error}", Seen(unread="files that cannot be fetched"))
                continue
            for file in sorted(each for each in path.rglob("*") if each.is_file()):
                with pa.OSFile(str(file)) as source:
                    search.file(f"{what}, {file.relative_to(path)}", source)


def versions_of_runs(models: Models) -> dict[str, str]:
    """The registered versions, `name/version, …`, by the run that made them."""
    found: dict[str, str] = {}
    for model in models.snapshots():
        version = f"{model.name}/{model.version}"
        found[model.run_id] = f"{found[model.run_id]}, {version}" if model.run_id in found else version
    return found


def runs(models: Models) -> Iterator[Run]:
    """Every run of every experiment, deleted ones too: their files are still there."""
    experiments = [each.experiment_id for each in models.client.search_experiments(view_type=ViewType.ALL)]
    token: str | None = None
    while experiments:
        page = models.client.search_runs(experiments, run_view_type=ViewType.ALL, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _fetch(models: Models, run_id: str, folder: Path) -> Path | None:
    """The model among a run's files; None when it has none."""
    if not any(each.path == ARTIFACT_PATH and each.is_dir for each in models.client.list_artifacts(run_id)):
        return None
    return Path(models.client.download_artifacts(run_id, ARTIFACT_PATH, str(folder)))


def _eraser(folder: Path) -> Callable[[Path, Path, int], bool]:
    """What erases from a model of this kind: from a folder into another one; whether there was anything to erase.

    Raises:
        _UnknownKind: nothing here does.
    """
    try:
        manifest = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _UnknownKind(
            f"it has no model.json, but {', '.join(sorted(each.name for each in folder.iterdir()))}"
        ) from None
    except ValueError as error:
        raise _UnknownKind(f"its model.json is damaged: {error}") from error
    # Rankers of the first days do not say so.
    kind = str(manifest.get("kind", KIND)) if isinstance(manifest, dict) else "no object"
    if kind not in _ERASERS:
        raise _UnknownKind(f"it is of kind {kind!r}, known: {', '.join(_ERASERS)}")
    return _ERASERS[kind]


def _erase_ranker(folder: Path, into: Path, household_id: int) -> bool:
    model = RankerModel.load(folder)
    if household_id not in model.candidates.household_id:
        return False
    dataclasses.replace(model, candidates=_without(model.candidates, household_id)).save(into)
    return True


#: By the kind that a manifest names. A model that keeps nothing of a household needs one that returns false.
_ERASERS: Final[Mapping[str, Callable[[Path, Path, int], bool]]] = {KIND: _erase_ranker}


def _without(candidates: Candidates, household_id: int) -> Candidates:
    kept = candidates.household_id != household_id
    sizes = np.diff(candidates.offsets)
    rows = np.repeat(kept, sizes)
    return dataclasses.replace(
        candidates,
        household_id=candidates.household_id[kept],
        offsets=np.concatenate([[0], np.cumsum(sizes[kept])]).astype(np.int64),
        product_id=candidates.product_id[rows],
        inputs=candidates.inputs[rows],
    )
