"""Command line of the ingest image: `python -m include.jobs.ingest interval|reference|validate|gpu-hours`."""

import argparse
import datetime as dt
import logging
import os
import sys
from collections.abc import Callable

from include.jobs.lake.connections import kafka_bootstrap_servers
from include.jobs.lake.errors import run_main
from include.jobs.lake.ledger import Interval
from include.jobs.lake.result import write_result

_CENTURY_S = 3_155_760_000.0


def main() -> None:
    """Parse the command line and run the command; the result goes to `write_result`."""
    parser = argparse.ArgumentParser(prog="python -m include.jobs.ingest", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    bounds = argparse.ArgumentParser(add_help=False)
    bounds.add_argument("--start", required=True, help="start of the interval, ISO 8601 with offset, included")
    bounds.add_argument("--end", required=True, help="end of the interval, ISO 8601 with offset, excluded")
    interval = commands.add_parser("interval", parents=[bounds], help="read one interval of a topic into the lake")
    interval.add_argument("--topic", required=True)
    interval.add_argument("--run-id", default=os.environ.get("PODIUM_RUN_ID") or "manual")
    interval.add_argument(
        "--allowed-lateness",
        type=_within(_CENTURY_S),
        default=0.0,
        help="seconds past the end after which it closes in any case",
    )
    interval.add_argument(
        "--max-bad-fraction", type=_within(1.0), default=0.05, help="more broken records than this stop the run"
    )
    commands.add_parser("reference", help="write products and households")
    commands.add_parser("validate", parents=[bounds], help="judge a closed interval by the expectations")
    commands.add_parser("gpu-hours", help="fold the records of tasks that had GPUs into their table")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    run = {"interval": _interval, "reference": _reference, "validate": _validate, "gpu-hours": _gpu_hours}
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
    from include.jobs.ingest.contract import Contract
    from include.jobs.ingest.interval import Request, ingest
    from include.jobs.ingest.topic import Topic
    from include.jobs.lake.catalog import open_catalog

    request = Request(
        interval=Interval.parse(arguments.start, arguments.end),
        run_id=arguments.run_id,
        lateness=dt.timedelta(seconds=arguments.allowed_lateness),
        max_bad_fraction=arguments.max_bad_fraction,
    )
    with Topic(kafka_bootstrap_servers(), arguments.topic) as topic:
        write_result(ingest(open_catalog(), topic, Contract.load(), request))


def _reference(_: argparse.Namespace) -> None:
    from include.jobs.ingest.reference import write_reference
    from include.jobs.lake.catalog import open_catalog

    write_result(write_reference(open_catalog()))


def _validate(arguments: argparse.Namespace) -> None:
    from include.jobs.ingest.expectations import Suite
    from include.jobs.ingest.validate import explain, validate
    from include.jobs.lake.catalog import open_catalog

    result = validate(open_catalog(), Interval.parse(arguments.start, arguments.end), Suite.load())
    write_result(result)
    if not result["success"]:
        raise explain(result)


def _gpu_hours(_: argparse.Namespace) -> None:
    from dataclasses import asdict

    from include.jobs.ingest.gpu_hours import fold
    from include.jobs.lake.catalog import open_catalog
    from include.jobs.lake.connections import Connections

    connections = Connections.from_environment()
    write_result(asdict(fold(connections, open_catalog(connections))))


if __name__ == "__main__":
    run_main(main)
