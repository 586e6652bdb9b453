"""Command line of the ingest image: `python -m include.jobs.ingest COMMAND`, see `--help`."""

import argparse
import datetime as dt
import gc
import logging
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from include.jobs.lake.command_line import Parser
from include.jobs.lake.connections import Connections, kafka_bootstrap_servers, kafka_security, schema_registry
from include.jobs.lake.errors import run_main
from include.jobs.lake.ledger import Interval, parse_moment
from include.jobs.lake.result import write_result

if TYPE_CHECKING:
    from include.jobs.ingest.contract import Contract
    from include.jobs.ingest.registry import Registry
    from include.jobs.lake.tables import EventTables

_BEGUN = time.monotonic()
_CENTURY_S = 3_155_760_000.0
_GC_THRESHOLD = (50_000, 20, 100)
#: A look at thousands of intervals reads less of each than their ingest does.
_OUTLOOK_VOTES = 200


def main() -> None:
    """Parse the command line and run the command; the result goes to `write_result`."""
    parser = Parser(prog="python -m include.jobs.ingest", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    bounds = Parser(add_help=False)
    bounds.add_argument(
        "--start", required=True, help="its start, ISO 8601 with offset, included; with commas, of several"
    )
    bounds.add_argument("--end", required=True, help="its end, ISO 8601 with offset, excluded; with commas, of several")
    bounds.add_argument("--table", required=True, help="where the accepted events go, for instance sales.transactions")
    bounds.add_argument("--contract", required=True, help="what a good record is, for instance transactions.v1")
    unit = Parser(add_help=False)
    unit.add_argument("--unit", choices=("run", "day"), default="run", help="the whole, or each of its days for itself")
    unit.add_argument("--timezone", default="UTC", help="where the days begin at midnight")
    by = Parser(add_help=False)
    by.add_argument("--run-id", default=os.environ.get("PODIUM_RUN_ID") or "manual")
    values = Parser(add_help=False)
    values.add_argument(
        "--value-format",
        choices=("json", "registry_json", "registry_avro"),
        default="json",
        help="of the messages' values: plain JSON, or JSON or Avro behind the id of a schema of the registry",
    )
    strays = Parser(add_help=False)
    strays.add_argument(
        "--max-stray-fraction",
        type=_within(1.0),
        default=0.05,
        help="more rows (and more than ten) with a message time outside their interval refuse it",
    )
    interval = commands.add_parser("interval", parents=[bounds, unit, by, values], help="read an interval and stage it")
    interval.add_argument("--topic", required=True)
    interval.add_argument(
        "--allowed-lateness",
        type=_within(_CENTURY_S),
        default=0.0,
        help="seconds past the end after which it closes in any case",
    )
    interval.add_argument(
        "--max-ahead",
        type=_within(_CENTURY_S),
        default=3600.0,
        help="seconds; a record that is stamped further ahead of now moves no boundary",
    )
    interval.add_argument(
        "--found-less",
        choices=("stop", "take"),
        default="stop",
        help="where records are gone that the interval had, or should have had: stop, or take what is there now",
    )
    interval.add_argument(
        "--max-bad-fraction", type=_within(1.0), default=0.05, help="more broken records than this stop the run"
    )
    interval.add_argument(
        "--processes", type=int, choices=range(1, 17), default=1, help="that share a large interval; one a CPU"
    )
    preflight = commands.add_parser(
        "preflight", parents=[unit], help="tell what a backfill would do; fails where it would"
    )
    for option in ("topic", "table", "contract"):
        preflight.add_argument(f"--{option}", required=True)
    preflight.add_argument(
        "--boundaries", required=True, help="starts of the intervals and the end of the last, ISO 8601, with commas"
    )
    preflight.add_argument("--allowed-lateness", type=_within(_CENTURY_S), default=0.0)
    preflight.add_argument("--max-ahead", type=_within(_CENTURY_S), default=3600.0)
    preflight.add_argument("--reprocess", choices=("true", "false"), default="true", help="run closed ones again")
    adopt = commands.add_parser(
        "adopt-topic", parents=[by], help="go on with a table from a topic that was moved, restored, cut or made anew"
    )
    for option in ("topic", "table", "contract"):
        adopt.add_argument(f"--{option}", required=True)
    adopt.add_argument(
        "--from", required=True, dest="begin", help="from this moment on, ISO 8601 with offset; no interval is past it"
    )
    commands.add_parser("reference", help="write products and households")
    commands.add_parser(
        "validate",
        parents=[bounds, unit, strays],
        help="judge a staged interval, and publish it when it is sound; `success` tells",
    )
    commands.add_parser("discard", parents=[bounds], help="give up a staged interval")
    replay = commands.add_parser("replay", parents=[bounds, by, values], help="stage what keeps the contract now")
    replay.add_argument("--mended", default="", help="s3://bucket/key of mended records, one JSON object a line")
    schema = commands.add_parser("schema", help="print the JSON Schema of a contract")
    schema.add_argument("contract", help="for instance transactions.v1")
    compare = commands.add_parser("compare", help="tell what a contract changes; fails where it may not")
    compare.add_argument("old", help="for instance transactions.v1")
    compare.add_argument("new", help="for instance transactions.v2")
    commands.add_parser("gpu-hours", help="fold the records of tasks that had GPUs into their table")
    arguments = parser.parse_args()
    # Imports make millions of objects that stay: looking through them again and again for garbage is a sixth of the
    # time that Great Expectations takes to import.
    gc.set_threshold(*_GC_THRESHOLD)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    run = {
        "interval": _interval,
        "validate": _validate,
        "discard": _discard,
        "replay": _replay,
        "preflight": _preflight,
        "adopt-topic": _adopt,
        "reference": _reference,
        "schema": _schema,
        "compare": _compare,
        "gpu-hours": _gpu_hours,
    }
    run[arguments.command](arguments)


def _within(maximum: float) -> Callable[[str], float]:
    """A number from 0 to `maximum`, as an argument's type."""

    def parse(text: str) -> float:
        value = float(text)
        if not 0.0 <= value <= maximum:
            raise argparse.ArgumentTypeError(f"{text} is not between 0 and {maximum:g}")
        return value

    return parse


def _interval(arguments: argparse.Namespace) -> None:
    import pyarrow as pa

    from include.jobs.ingest.contract import Contract
    from include.jobs.ingest.days import ingest_each
    from include.jobs.ingest.evolution import bring_up
    from include.jobs.ingest.helpers import Helpers
    from include.jobs.ingest.interval import Request, ingest
    from include.jobs.ingest.topic import Topic
    from include.jobs.lake.catalog import open_catalog

    intervals, contract = _intervals(arguments), Contract.load(arguments.contract)
    lateness = dt.timedelta(seconds=arguments.allowed_lateness)
    place = (kafka_bootstrap_servers(), arguments.topic, kafka_security(), _registry(arguments))
    # Arrow's own allocator gives back the memory of each batch and takes it anew, at a tenth of all the CPU time.
    pa.set_memory_pool(pa.system_memory_pool())
    max_ahead = dt.timedelta(seconds=arguments.max_ahead)
    with Helpers(place, arguments.processes) as helpers, Topic(*place, max_ahead=max_ahead) as topic:
        catalog = open_catalog()
        tables = bring_up(catalog, contract, arguments.table)

        def one(interval: Interval) -> dict[str, Any]:
            request = Request(
                interval,
                arguments.run_id,
                lateness,
                arguments.max_bad_fraction,
                tables,
                take_what_is_there=arguments.found_less == "take",
            )
            return ingest(catalog, topic, contract, request, helpers)

        result = ingest_each(intervals, one)
    write_result(result | {"process_seconds": round(time.monotonic() - _BEGUN, 3)})


def _preflight(arguments: argparse.Namespace) -> None:
    from itertools import pairwise

    from include.jobs.ingest.days import days_of
    from include.jobs.ingest.preflight import explain, preflight, summary
    from include.jobs.ingest.topic import Topic
    from include.jobs.lake.catalog import open_catalog

    intervals = [Interval.parse(*bounds) for bounds in pairwise(arguments.boundaries.split(","))]
    if arguments.unit == "day":
        intervals = [day for interval in intervals for day in days_of(interval, arguments.timezone)]
    contract, tables = _contract(arguments)
    lateness, reprocess = dt.timedelta(seconds=arguments.allowed_lateness), arguments.reprocess == "true"
    max_ahead = dt.timedelta(seconds=arguments.max_ahead)
    place = (kafka_bootstrap_servers(), arguments.topic, kafka_security())
    with Topic(*place, max_ahead=max_ahead, confirm=_OUTLOOK_VOTES) as topic:
        result = preflight(open_catalog(), topic, contract, tables.events, intervals, lateness, reprocess=reprocess)
    print(summary(result), file=sys.stderr)
    write_result(result | {"process_seconds": round(time.monotonic() - _BEGUN, 3)})
    if result["problems"]:
        raise explain(result)


def _intervals(arguments: argparse.Namespace) -> list[Interval]:
    from include.jobs.ingest.days import days_of

    bounds = zip(arguments.start.split(","), arguments.end.split(","), strict=True)
    wholes = [Interval.parse(start, end) for start, end in bounds]
    if arguments.unit != "day":
        return wholes
    return [day for whole in wholes for day in days_of(whole, arguments.timezone)]


def _contract(arguments: argparse.Namespace) -> tuple["Contract", "EventTables"]:
    from include.jobs.ingest.contract import Contract
    from include.jobs.ingest.schemas import event_tables

    contract = Contract.load(arguments.contract)
    return contract, event_tables(contract, arguments.table)


def _registry(arguments: argparse.Namespace) -> "Registry | None":
    """Where the schemas are that the values name. Its client is not imported for plain JSON."""
    if arguments.value_format == "json":
        return None
    from include.jobs.ingest.registry import Registry

    return Registry(schema_registry(), arguments.value_format.removeprefix("registry_").upper())


def _adopt(arguments: argparse.Namespace) -> None:
    from include.jobs.ingest.adopt import adopt_topic
    from include.jobs.ingest.topic import Topic
    from include.jobs.lake.catalog import open_catalog

    _, tables = _contract(arguments)
    begin = parse_moment(arguments.begin, "from")
    with Topic(kafka_bootstrap_servers(), arguments.topic, kafka_security()) as topic:
        write_result(adopt_topic(open_catalog(), topic, tables.events.identifier, begin, arguments.run_id))


def _reference(_: argparse.Namespace) -> None:
    from include.jobs.ingest.reference import write_reference
    from include.jobs.lake.catalog import open_catalog

    write_result(write_reference(open_catalog()))


def _validate(arguments: argparse.Namespace) -> None:
    from include.jobs.ingest.days import validate_each
    from include.jobs.ingest.expectations import Suite
    from include.jobs.ingest.validate import explain, validate
    from include.jobs.lake.catalog import open_catalog

    intervals, (contract, tables) = _intervals(arguments), _contract(arguments)
    catalog, suite = open_catalog(), Suite.of(contract)
    result = validate_each(
        intervals, lambda interval: validate(catalog, tables, interval, suite, arguments.max_stray_fraction)
    )
    # A verdict is a result, whatever it is: who has asked for it decides what follows.
    if text := explain(result):
        print(text, file=sys.stderr)
    write_result(result | {"explanation": text, "process_seconds": round(time.monotonic() - _BEGUN, 3)})


def _discard(arguments: argparse.Namespace) -> None:
    from include.jobs.ingest.publish import discard
    from include.jobs.lake.catalog import open_catalog

    _, tables = _contract(arguments)
    discard(open_catalog(), tables, Interval.parse(arguments.start, arguments.end))
    write_result({"discarded": True})


def _replay(arguments: argparse.Namespace) -> None:
    from include.jobs.ingest.contract import Contract
    from include.jobs.ingest.evolution import bring_up
    from include.jobs.ingest.replay import read_mends, replay
    from include.jobs.lake.catalog import open_catalog
    from include.jobs.lake.result import read_text

    interval, contract = Interval.parse(arguments.start, arguments.end), Contract.load(arguments.contract)
    text = read_text(arguments.mended, Connections.from_environment()) if arguments.mended else ""
    mends = read_mends(text.splitlines())
    catalog = open_catalog()
    tables = bring_up(catalog, contract, arguments.table)
    write_result(replay(catalog, tables, contract, interval, arguments.run_id, mends, _registry(arguments)))


def _schema(arguments: argparse.Namespace) -> None:
    import json

    from include.jobs.ingest.contract import Contract
    from include.jobs.ingest.schemas import json_schema

    print(json.dumps(json_schema(Contract.load(arguments.contract)), indent=2))


def _compare(arguments: argparse.Namespace) -> None:
    from include.jobs.ingest.contract import Contract
    from include.jobs.ingest.evolution import compare

    for change in compare(Contract.load(arguments.old), Contract.load(arguments.new)):
        print(change)


def _gpu_hours(_: argparse.Namespace) -> None:
    from dataclasses import asdict

    from include.jobs.ingest.gpu_hours import fold
    from include.jobs.lake import lineage
    from include.jobs.lake.catalog import load_table, open_catalog
    from include.jobs.lake.tables import GPU_HOURS

    connections = Connections.from_environment()
    catalog = open_catalog(connections)
    done = fold(connections, catalog)
    written = lineage.as_of_now(load_table(catalog, GPU_HOURS.identifier), done.added)
    write_result(asdict(done) | lineage.datasets([], [written]))


if __name__ == "__main__":
    run_main(main)
