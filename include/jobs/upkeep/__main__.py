"""Command line of the upkeep image for what needs no Spark: `python -m include.jobs.upkeep COMMAND`, see `--help`."""

import argparse
import logging
import sys

from include.jobs.lake.command_line import Parser
from include.jobs.lake.errors import run_main
from include.jobs.lake.result import write_result


def main() -> None:
    """Parse the command line and run the command; the result goes to `write_result`."""
    parser = Parser(prog="python -m include.jobs.upkeep", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("record", help="append what Airflow has recorded to the audit trail")
    verify = commands.add_parser("verify", help="verify the audit trail's chain of hashes")
    verify.add_argument("--head", default="", help="<number>:<hash> noted before, as `record` returned it: hold to it")
    commands.add_parser(
        "request", help="ask for an erasure: the household's id on standard input, its pseudonym comes out"
    )
    household = Parser(add_help=False)
    household.add_argument("--household", required=True, help="the household's pseudonym, as `request` returned it")
    commands.add_parser("erase", parents=[household], help="erase a household from tables, models and topics")
    commands.add_parser("prove", parents=[household], help="search everything for an erased household")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    run = {"record": _record, "verify": _verify, "request": _request, "erase": _erase, "prove": _prove}
    run[arguments.command](arguments)


def _record(_: argparse.Namespace) -> None:
    from include.jobs.lake.catalog import open_catalog
    from include.jobs.lake.connections import Connections
    from include.jobs.upkeep.audit import record

    connections = Connections.from_environment()
    write_result(record(connections, open_catalog(connections)))


def _verify(arguments: argparse.Namespace) -> None:
    from include.jobs.lake.catalog import open_catalog
    from include.jobs.upkeep.audit import Head, verify

    write_result(verify(open_catalog(), Head.parse(arguments.head) if arguments.head else None))


def _request(_: argparse.Namespace) -> None:
    from include.jobs.lake.connections import Connections
    from include.jobs.lake.pseudonyms import Pseudonyms
    from include.jobs.upkeep.erase_requests import leave_request

    if sys.stdin.isatty():
        print("The household's id: ", end="", file=sys.stderr, flush=True)
    pseudonym = leave_request(Connections.from_environment(), Pseudonyms.from_environment(), sys.stdin.readline())
    write_result({"household": pseudonym})


def _erase(arguments: argparse.Namespace) -> None:
    from include.jobs.lake.catalog import open_catalog
    from include.jobs.lake.connections import Connections, kafka_client
    from include.jobs.lake.pseudonyms import Pseudonyms
    from include.jobs.upkeep.erase import erase
    from include.jobs.upkeep.erase_requests import requested
    from include.jobs.upkeep.protect import Models

    connections, models, pseudonyms = Connections.from_environment(), Models.connect(), Pseudonyms.from_environment()
    household = requested(connections, pseudonyms, arguments.household)
    write_result(erase(connections, open_catalog(connections), models, pseudonyms, household, kafka_client()))


def _prove(arguments: argparse.Namespace) -> None:
    from include.jobs.lake.catalog import open_catalog
    from include.jobs.lake.connections import Connections, kafka_client
    from include.jobs.lake.pseudonyms import Pseudonyms
    from include.jobs.upkeep.erase import prove
    from include.jobs.upkeep.erase_requests import drop_request, requested
    from include.jobs.upkeep.protect import Models

    connections, models, pseudonyms = Connections.from_environment(), Models.connect(), Pseudonyms.from_environment()
    household = requested(connections, pseudonyms, arguments.household)
    result = prove(connections, open_catalog(connections), models, pseudonyms, household, kafka_client())
    drop_request(connections, arguments.household)
    write_result(result)


if __name__ == "__main__":
    run_main(main)
