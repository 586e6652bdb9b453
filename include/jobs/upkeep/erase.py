"""Erasing one household, and proving it: the order of what must happen."""

import datetime as dt
import logging
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

from pyarrow.fs import FileSelector
from pyiceberg.catalog.sql import SqlCatalog

from include.jobs.lake import lineage
from include.jobs.lake.connections import Connections
from include.jobs.lake.erasures import HOUSEHOLD, put_on_list
from include.jobs.lake.errors import EXIT_TRY_LATER, JobError
from include.jobs.lake.feature_view import repoint
from include.jobs.lake.pages import taken_intervals
from include.jobs.lake.pseudonyms import Pseudonyms
from include.jobs.lake.result import read_object, write_object
from include.jobs.upkeep.erase_models import announce, erase_artifacts, flag_models, follow_tags, search_runs
from include.jobs.upkeep.erase_requests import request_path
from include.jobs.upkeep.erase_tables import QUARANTINE, erase_rows, rewrite_tags
from include.jobs.upkeep.erase_topics import bury, policy, read_topic, search_topic
from include.jobs.upkeep.eyes import Eyes
from include.jobs.upkeep.protect import VIEW_TAG, Models, protect
from include.jobs.upkeep.search import Search
from include.jobs.upkeep.tables import all_tables

#: Pages about an interval's data, which may show single rows: made again when the interval is validated.
PAGES: Final = "data_docs"

log = logging.getLogger(__name__)


class NotErasedError(JobError):
    """The household is still somewhere."""

    exit_code = EXIT_TRY_LATER


def erase(
    connections: Connections,
    catalog: SqlCatalog,
    models: Models,
    pseudonyms: Pseudonyms,
    household_id: int,
    kafka: Mapping[str, str],
) -> dict[str, Any]:
    """Erase a household from tables, models, pages and compacted topics. Safe to repeat.

    `kafka` is what `kafka_client` gives. The files of snapshots from before stay until these are expired, which comes
    next; `prove` comes after.

    Returns:
        `{pseudonym, rows: {table: number}, models, artifacts, models_not_read, pages, tombstones, …}`.
    """
    pseudonym = pseudonyms.household(household_id)
    # First of all: what is ingested from now on leaves the household out.
    put_on_list(catalog, pseudonym)
    flagged = flag_models(catalog, models, household_id, pseudonym, dt.datetime.now(dt.UTC).isoformat())
    # What the view names must have its tag, or it would not be written anew.
    protect(catalog, all_tables(catalog), models.snapshots())
    rewritten = rewrite_tags(catalog, household_id)
    follow_tags(models, rewritten)
    if moved := {each.table: (each.before, each.after) for each in rewritten if each.tag == VIEW_TAG}:
        repoint(catalog, moved)
    rows = erase_rows(catalog, household_id)
    pages = _drop_pages(connections, household_id)
    artifacts = erase_artifacts(models, household_id)
    # Also when an earlier try has written them: it may have died before it said so.
    announce(models, dt.datetime.now(dt.UTC).isoformat())
    topics = [search_topic(kafka, topic, household_id, whole=named) for topic, named in topics_of(catalog).items()]
    result = {
        "pseudonym": pseudonym,
        "erased_at": dt.datetime.now(dt.UTC).isoformat(),
        "rows": rows,
        "models": flagged,
        "artifacts": len(artifacts.rewritten),
        "models_not_read": artifacts.not_read,
        "pages": pages,
        "tombstones": sum(bury(kafka, held) for held in topics),
        "topics": [held.report() for held in topics],
    }
    write_object(report_address(connections, pseudonym), _with_first(connections, result), connections)
    changed = [name for name, count in rows.items() if count]
    return result | lineage.datasets(
        [lineage.topic(held.topic, held.read) for held in topics],
        [
            *(lineage.as_of_now(catalog.load_table(name), rows[name]) for name in changed),
            *(lineage.model(*model.rsplit("/", 1)) for model in flagged),
        ],
    )


def prove(
    connections: Connections,
    catalog: SqlCatalog,
    models: Models,
    pseudonyms: Pseudonyms,
    household_id: int,
    kafka: Mapping[str, str],
) -> dict[str, Any]:
    """Search everything for the household, and add what was searched to the erasure's report.

    Records of topics are no failure: nobody but the broker's retention takes them. They are told with the day.

    Returns:
        `{pseudonym, report, verdict, searched, topics, datasets}`: the datasets are the tables as they are when the
        search begins, the verdict is one of `Verdict`.

    Raises:
        NotErasedError: it is still in a file; the report says where.
    """
    pseudonym = pseudonyms.household(household_id)
    tables = [lineage.as_of_now(catalog.load_table(name)) for name in all_tables(catalog)]
    files = Search(Eyes(household_id))
    files.bucket(
        connections.filesystem(),
        urlsplit(connections.warehouse).netloc,
        skip=request_path(connections, pseudonym),
        others=_of_no_household(catalog),
    )
    search_runs(models, files)
    topics = Search(Eyes(household_id))
    held = [_search_topic(kafka, topic, topics, whole=whole) for topic, whole in topics_of(catalog).items()]
    proof = {
        "proved_at": dt.datetime.now(dt.UTC).isoformat(),
        "verdict": Verdict.of(files, topics),
        "files": files.report(),
        "topics": topics.report() | {"held": held},
    }
    address = report_address(connections, pseudonym)
    write_object(address, read_object(address, connections) | {"proof": proof}, connections)
    if left := list(files.left):
        raise NotErasedError(
            f"household {pseudonym} is still in {len(left)} places:\n  " + "\n  ".join(left[:20]) + "\n"
            "A file that no snapshot names goes with maintain_lake once it is older than any writer: run this again "
            "then. For everything else run the erasure again; what is none of the platform's files, remove by hand"
        )
    log.log(logging.INFO if proof["verdict"] == Verdict.NOTHING else logging.WARNING, "verdict: %s", proof["verdict"])
    told = {"pseudonym": pseudonym, "report": address, "verdict": proof["verdict"]}
    return told | {"searched": files.report(), "topics": proof["topics"]} | lineage.datasets(tables)


class Verdict(StrEnum):
    """What a proof says. It says `NOTHING` only of what it has understood as a whole."""

    NOTHING = "nothing left"
    FOUND = "found"
    UNCLEAR = "not understood"

    @classmethod
    def of(cls, *searches: Search) -> "Verdict":
        """Digits that may be chance leave it open, as does what nobody could read."""
        if any(search.left for search in searches):
            return cls.FOUND
        return cls.UNCLEAR if any(search.chance or search.unread for search in searches) else cls.NOTHING


def _search_topic(kafka: Mapping[str, str], topic: str, search: Search, *, whole: bool) -> dict[str, Any]:
    """Search a topic; what becomes of the records that name the household."""
    held, place = policy(kafka, topic), f"topic {topic}"
    for message in read_topic(kafka, topic) if held.there else ():
        held.read += 1
        key, value = message.key(), message.value()
        # A tombstone is what removes the others of its key.
        if (value is not None or not held.compacted) and search.record(place, key, value, whole=whole):
            held.naming += 1
            held.latest_ms = max(held.latest_ms, message.timestamp()[1])
    return held.report()


def _of_no_household(catalog: SqlCatalog) -> list[str]:
    """Folders of raw records that are of something else than households: a key there is the number of that."""
    tables = {name: catalog.load_table(name) for name in all_tables(catalog)}
    return [
        tables[name + QUARANTINE].location().removeprefix("s3://") + "/"
        for name, table in tables.items()
        if name + QUARANTINE in tables and HOUSEHOLD not in table.schema().column_names
    ]


def report_address(connections: Connections, pseudonym: str) -> str:
    """Where an erasure's report lies."""
    return f"s3://{urlsplit(connections.warehouse).netloc}/erasures/{pseudonym}.json"


def topics_of(catalog: SqlCatalog) -> dict[str, bool]:
    """Every topic that a ledger of the lake names, and whether its records are of households."""
    found: dict[str, bool] = {}
    for name in all_tables(catalog):
        table = catalog.load_table(name)
        for record in taken_intervals(table):
            found[record.topic] = found.get(record.topic, False) or HOUSEHOLD in table.schema().column_names
    return dict(sorted(found.items()))


def _with_first(connections: Connections, result: dict[str, Any]) -> dict[str, Any]:
    """The result with the rows that earlier runs of the same erasure have erased."""
    address = report_address(connections, result["pseudonym"])
    path = address.removeprefix("s3://")
    if not connections.filesystem().get_file_info(path).is_file:
        return result | {"runs": [_run(result)]}
    return result | {"runs": [*read_object(address, connections)["runs"], _run(result)]}


def _run(result: dict[str, Any]) -> dict[str, Any]:
    return {name: result[name] for name in ("erased_at", "rows", "artifacts", "tombstones")}


def _drop_pages(connections: Connections, household_id: int) -> int:
    """Remove the pages that show a number like the household's id."""
    shown = re.compile(rb"(?<![0-9])%d(?![0-9])" % household_id)
    files = connections.filesystem()
    folder = f"{connections.warehouse.removeprefix('s3://')}/{PAGES}"
    pages = [
        info.path
        for info in files.get_file_info(FileSelector(folder, recursive=True, allow_not_found=True))
        if info.is_file
    ]
    naming = [path for path in pages if shown.search(files.open_input_file(path).readall())]
    for path in naming:
        files.delete_file(path)
    return len(naming)
