"""Maintain the lake's tables: what spark-submit runs in the upkeep image. The last line of the log is the result."""

import datetime as dt
import logging
import sys
import time
from dataclasses import asdict

from include.jobs.lake import lineage
from include.jobs.lake.catalog import open_catalog
from include.jobs.lake.command_line import Parser
from include.jobs.lake.connections import Connections
from include.jobs.lake.errors import run_main
from include.jobs.lake.pages import sweep
from include.jobs.lake.result import write_result
from include.jobs.lake.spark import lake_session
from include.jobs.upkeep.maintain import Policy, maintain_all
from include.jobs.upkeep.protect import Models, protect
from include.jobs.upkeep.tables import all_tables

DAY_S = 86_400


def main() -> None:
    """Parse the command line, protect, maintain, leave the result."""
    parser = Parser(description=__doc__)
    parser.add_argument("--tables", default="", help="namespace.table,…; default: all")
    parser.add_argument("--keep-snapshots-s", type=int, required=True, help="younger snapshots stay, seconds")
    parser.add_argument("--keep-snapshots", type=int, default=1, help="so many of the latest stay whatever their age")
    parser.add_argument(
        "--orphan-age-s", type=int, default=3 * DAY_S, help="younger files stay, seconds; a day or more"
    )
    parser.add_argument("--target-file-bytes", type=int, default=Policy.target_file_bytes)
    parser.add_argument("--min-input-files", type=int, default=Policy.min_input_files)
    parser.add_argument("--max-files", type=int, default=Policy.max_files, help="of a table that a run rewrites")
    parser.add_argument("--expire-only", action="store_true", help="rewrite no files, make no statistics")
    arguments = parser.parse_args()
    if arguments.orphan_age_s < DAY_S:
        parser.error(
            f"--orphan-age-s {arguments.orphan_age_s} could take a running writer's files: give {DAY_S} or more"
        )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("py4j").setLevel(logging.WARNING)
    policy = Policy(
        keep_s=arguments.keep_snapshots_s,
        keep_last=arguments.keep_snapshots,
        orphan_age_s=arguments.orphan_age_s,
        target_file_bytes=arguments.target_file_bytes,
        min_input_files=arguments.min_input_files,
        max_files=arguments.max_files,
        expire_only=arguments.expire_only,
    )
    begun = time.monotonic()
    connections = Connections.from_environment()
    catalog = open_catalog(connections)
    tables = [name for name in arguments.tables.split(",") if name] or all_tables(catalog)
    # Before any expiry, and with it in one process: a model that is registered in between is younger than what goes.
    protected = protect(catalog, tables, Models.connect().snapshots())
    spark = lake_session(connections)
    try:
        maintained = maintain_all(spark, tables, policy)
    finally:
        spark.stop()
    # Pages of ledgers are no files of a table, so that they are none of its orphans either.
    old = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=arguments.orphan_age_s)
    swept = sum(len(sweep(catalog, name, connections.filesystem(), old)) for name in tables)
    done = [lineage.table(name, table["snapshot_id"], table["rows"]) for name, table in maintained.items()]
    result = {
        "protected": asdict(protected),
        "tables": maintained,
        "ledger_pages_removed": swept,
        "seconds": round(time.monotonic() - begun, 3),
    }
    write_result(result | lineage.datasets([], done))


if __name__ == "__main__":
    run_main(main)
