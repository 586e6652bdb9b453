"""Going on with the same table from another topic, or from one that was moved, restored, cut or made anew."""

import datetime as dt
from typing import Any

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table, Transaction

from include.jobs.ingest.plan import cut_of
from include.jobs.ingest.sources import Adoption, Sources
from include.jobs.ingest.topic import Topic
from include.jobs.lake import lineage
from include.jobs.lake.catalog import load_table
from include.jobs.lake.commits import commit
from include.jobs.lake.errors import JobError
from include.jobs.lake.ledger import IntervalRecord, iso
from include.jobs.lake.pages import taken_intervals


class AdoptionError(JobError):
    """The topic cannot be adopted from this moment on, or need not be."""


def adopt_topic(catalog: SqlCatalog, topic: Topic, identifier: str, begin: dt.datetime, run_id: str) -> dict[str, Any]:
    """Have the table filled from `topic`, as it is now, from `begin` on; what is closed before that stays as it is.

    Of the topic that the table was filled from so far, every partition goes on where it was read to, or where its log
    was cut. Of another one each goes on where the moment lies in it. The choice is recorded with the table.

    Returns:
        The job's result: `{table, topic, topic_id, from, before, starts, …}`; `before` is the topic id so far.

    Raises:
        AdoptionError: intervals past the moment are taken already, or the table is filled from this very log.
        JobError: see `Topic`.
    """
    view = topic.view()

    def adoption(table: Table) -> tuple[Adoption, IntervalRecord | None]:
        last, sources = taken_intervals(table).last(), Sources.from_properties(table.properties)
        if last is not None and last.interval.end > begin:
            raise AdoptionError(
                f"interval {last.interval} of {identifier} is taken already, from topic {last.topic} (id "
                f"{last.topic_id}): adopt the topic from {iso(last.interval.end)} on, or later; a staged interval can "
                "be discarded first"
            )
        now = sources.adoptions[-1] if sources.adoptions else None
        source = now if now is not None and (last is None or last.interval.start < now.begin) else last
        starts = {}
        if source is not None and (source.topic, source.topic_id) == (view.name, view.topic_id):
            cut = {} if last is None else cut_of(last.last, topic, view)
            if not cut:
                raise AdoptionError(
                    f"{identifier} is filled from topic {view.name} (id {view.topic_id}) already, and its log is the "
                    "one that was read: nothing is to be adopted"
                )
            starts = {number: last.range_of(number).end for number in view.partitions} | cut if last else {}
        return Adoption(begin, view.name, view.topic_id, starts, run_id, dt.datetime.now(dt.UTC)), last

    def change(table: Table, transaction: Transaction) -> tuple[Adoption, IntervalRecord | None]:
        found, last = adoption(table)
        transaction.set_properties({found.key: found.to_json()})
        return found, last

    adopted, last = commit(catalog, identifier, change, what=f"the topic from {iso(begin)} on")
    return {
        "table": identifier,
        "topic": adopted.topic,
        "topic_id": adopted.topic_id,
        "from": iso(begin),
        "before": None if last is None else last.topic_id,
        "starts": {str(number): offset for number, offset in sorted(adopted.starts.items())},
        **lineage.datasets([lineage.topic(topic.name)], [lineage.as_of_now(load_table(catalog, identifier), 0)]),
    }
