"""Command line of the drift image: `python -m include.jobs.drift check`."""

import argparse
import logging
import os
import sys
from zoneinfo import ZoneInfo

from include.jobs.lake.command_line import Parser
from include.jobs.lake.errors import run_main
from include.jobs.lake.ledger import Interval
from include.jobs.lake.result import write_result


def main() -> None:
    """Parse the command line and check; drift is a result, and the job ends well."""
    parser = Parser(prog="python -m include.jobs.drift", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="hold an interval against what a model was made from")
    check.add_argument("--model-name", default="recommender")
    check.add_argument("--model-version", default="@champion", help="a version, or @alias")
    check.add_argument("--start", required=True, help="start of the interval, ISO 8601 with offset, included")
    check.add_argument("--end", required=True, help="end of the interval, ISO 8601 with offset, excluded")
    check.add_argument("--timezone", type=ZoneInfo, default=ZoneInfo("America/New_York"), help="of the shops")
    check.add_argument("--p-value", type=float, default=0.05, help="significance over all features together")
    check.add_argument("--min-drifted-fraction", type=float, default=0.5, help="of the features: the interval drifted")
    check.add_argument("--sample-size", type=int, default=20_000, help="rows a view and side")
    check.add_argument("--seed", type=int, default=0, help="of the samples")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    _check(arguments)


def _check(arguments: argparse.Namespace) -> None:
    # Alibi Detect takes seconds to import: a wrong command line is told before that. What it imports in turn complains
    # that no deep learning library is here; the tests need none.
    interval = Interval.parse(arguments.start, arguments.end)
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from include.jobs.drift.check import CheckRequest, run_check
    from include.jobs.ranking.registry import Registry

    request = CheckRequest(
        interval=interval,
        version=arguments.model_version,
        timezone=arguments.timezone,
        significance=arguments.p_value,
        min_drifted_fraction=arguments.min_drifted_fraction,
        sample_size=arguments.sample_size,
        seed=arguments.seed,
    )
    write_result(run_check(Registry.connect(arguments.model_name), request))


if __name__ == "__main__":
    run_main(main)
