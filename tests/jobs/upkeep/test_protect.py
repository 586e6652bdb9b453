"""Tags on the snapshots that models need."""

from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.lake.tables import FEATURES_SERVING
from include.jobs.upkeep.protect import VIEW_TAG, Models, ModelsUnknownError, protect, tags_of
from tests.jobs.contracted import SALES
from tests.jobs.published import publish_view
from tests.jobs.upkeep.lake import fill, hour, register, sale

NAME = SALES.identifier


def rows(count: int) -> list[dict[str, Any]]:
    return [sale(number, hour(0), 900) for number in range(count)]


def test_every_version_keeps_its_snapshot_until_it_is_deleted(catalog: SqlCatalog, models: Models) -> None:
    first, second = fill(catalog, 0, rows(1)), fill(catalog, 0, rows(2))
    register(models.client, "recommender", {NAME: first})
    version = register(models.client, "recommender", {NAME: second})
    register(models.client, "demand", {NAME: second})
    register(models.client, "bare", {})
    assert protect(catalog, [NAME], models.snapshots()).set == 3
    wanted = {"model.recommender.1": first, "model.recommender.2": second, "model.demand.1": second}
    assert tags_of(catalog.load_table(NAME)) == wanted
    again = protect(catalog, [NAME], models.snapshots())
    assert (again.set, again.removed, again.missing) == (0, 0, [])
    models.client.delete_model_version("recommender", version)
    assert protect(catalog, [NAME], models.snapshots()).removed == 1
    assert set(tags_of(catalog.load_table(NAME))) == {"model.recommender.1", "model.demand.1"}


def test_what_the_view_of_the_features_names_is_kept_until_another_is_published(
    catalog: SqlCatalog, models: Models
) -> None:
    first = fill(catalog, 0, rows(1))
    view = publish_view(catalog, NAME)
    second = fill(catalog, 0, rows(2))
    assert protect(catalog, [FEATURES_SERVING, NAME], models.snapshots()).set == 2
    assert tags_of(catalog.load_table(NAME)) == {VIEW_TAG: first}
    assert tags_of(catalog.load_table(FEATURES_SERVING)) == {VIEW_TAG: view}
    publish_view(catalog, NAME)
    protect(catalog, [NAME], models.snapshots())
    assert tags_of(catalog.load_table(NAME)) == {VIEW_TAG: second}


def test_more_versions_than_one_page_of_the_registry(catalog: SqlCatalog, models: Models) -> None:
    snapshot = fill(catalog, 0, rows(1))
    for _ in range(12):
        register(models.client, "recommender", {NAME: snapshot})
    listed = models.client.search_model_versions
    models.client.search_model_versions = lambda **given: listed(**(given | {"max_results": 5}))
    assert len(models.snapshots()) == 12


def test_other_tags_and_what_is_gone_already(catalog: SqlCatalog, models: Models) -> None:
    snapshot = fill(catalog, 0, rows(1))
    with catalog.load_table(NAME).manage_snapshots() as changes:
        changes.create_tag(snapshot, "quarter")
    register(models.client, "recommender", {NAME: 4711})
    done = protect(catalog, [NAME], models.snapshots())
    assert (done.set, done.missing) == (0, [f"{NAME}@4711 (model.recommender.1)"])
    assert "quarter" in catalog.load_table(NAME).refs()


def test_a_snapshot_that_is_no_number_stops_everything(models: Models) -> None:
    register(models.client, "recommender", {}, **{f"snapshot.{NAME}": "latest"})
    with pytest.raises(ModelsUnknownError, match=r"version 1 of model recommender has a tag snapshot\.… .*correct it"):
        models.snapshots()
