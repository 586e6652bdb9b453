"""Erasing a household from models: flagged in MLflow, left out of the files that they serve from.

A model keeps, for each household it knows, what it may recommend. These files are written anew without the household.
What the network has learned from its rows cannot be taken out; so the versions that saw them are flagged, and whoever
answers for the model decides when it is trained again.
"""

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from mlflow.entities import LifecycleStage, Run, ViewType
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.lake.erasures import HOUSEHOLD
from include.jobs.ranking import fingerprints
from include.jobs.ranking.model import Candidates, RankerModel
from include.jobs.ranking.registry import ARTIFACT_PATH
from include.jobs.upkeep.erase_tables import Rewritten, holds
from include.jobs.upkeep.protect import SNAPSHOT_TAG, Models, ModelSnapshots
from include.jobs.upkeep.tables import all_tables

#: Tag of a version that has seen an erased household: `podium.erasure.<pseudonym>`, its value when it was erased.
FLAG: Final = "podium.erasure."

log = logging.getLogger(__name__)


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


def erase_artifacts(models: Models, household_id: int) -> list[str]:
    """Write the files of every run's model anew that know the household; the ids of those runs."""
    done = []
    for run in runs(models):
        with TemporaryDirectory(prefix="podium-model-") as folder:
            model = load(models, run, Path(folder))
            if model is None or household_id not in model.candidates.household_id:
                continue
            without = Path(folder) / "without"
            without.mkdir()
            dataclasses.replace(model, candidates=_without(model.candidates, household_id)).save(without)
            allowed = fingerprints.replacing(Path(folder) / ARTIFACT_PATH, without, run.data.tags)
            _tag(models, run, allowed)
            models.client.log_artifacts(run.info.run_id, str(without), ARTIFACT_PATH)
            _tag(models, run, fingerprints.of_files(without) if allowed else {})
        log.info("wrote the model of run %s anew", run.info.run_id)
        done.append(run.info.run_id)
    return done


def _tag(models: Models, run: Run, tags: Mapping[str, str]) -> None:
    # MLflow takes no tag of a run that was deleted, whose model nobody serves.
    if run.info.lifecycle_stage == LifecycleStage.ACTIVE:
        for name, value in tags.items():
            models.client.set_tag(run.info.run_id, name, value)


def knowing(models: Models, household_id: int) -> tuple[int, list[str]]:
    """How many models there are, and the runs of those whose files know the household."""
    searched, found = 0, []
    for run in runs(models):
        with TemporaryDirectory(prefix="podium-model-") as folder:
            model = load(models, run, Path(folder))
        if model is not None:
            searched += 1
            if household_id in model.candidates.household_id:
                found.append(run.info.run_id)
    return searched, found


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


def load(models: Models, run: Run, folder: Path) -> RankerModel | None:
    """The model among a run's artifacts; None when it has none.

    Raises:
        ModelFormatError: its files cannot be read.
    """
    run_id = run.info.run_id
    if not any(each.path == ARTIFACT_PATH and each.is_dir for each in models.client.list_artifacts(run_id)):
        return None
    path = Path(models.client.download_artifacts(run_id, ARTIFACT_PATH, str(folder)))
    return RankerModel.load(path)


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
