"""Command line of the evaluation image: `python -m include.jobs.evaluation gate`."""

import argparse
import datetime as dt
import logging
import sys
from zoneinfo import ZoneInfo

from include.jobs.lake.command_line import Parser
from include.jobs.lake.errors import run_main
from include.jobs.lake.result import write_result


def main() -> None:
    """Parse the command line and judge; a refusal is a result, and the job ends well."""
    parser = Parser(prog="python -m include.jobs.evaluation", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    gate = commands.add_parser("gate", help="hold a candidate against the baselines on a later month")
    gate.add_argument("--model-name", default="recommender")
    gate.add_argument("--candidate-version", default="@candidate", help="a version, or @alias")
    gate.add_argument("--cutoff", required=True, type=dt.date.fromisoformat, help="first day of the judged month")
    gate.add_argument("--min-lift", type=float, default=0.0, help="recall above each required baseline")
    gate.add_argument(
        "--required-baselines",
        type=_names,
        default=("popularity", "own_frequency"),
        help="of popularity, own_frequency, decayed_frequency, champion; with commas between",
    )
    gate.add_argument("--timezone", type=ZoneInfo, default=ZoneInfo("America/New_York"), help="of the shops")
    gate.add_argument("--experiment", default="recommender", help="for the first champion's run")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    _gate(arguments)


def _gate(arguments: argparse.Namespace) -> None:
    from include.jobs.evaluation.gate import GateRequest, run_gate
    from include.jobs.ranking.registry import Registry, identity_from_environment

    request = GateRequest(
        candidate=arguments.candidate_version,
        cutoff=arguments.cutoff,
        required=arguments.required_baselines,
        min_lift=arguments.min_lift,
        timezone=arguments.timezone,
        experiment=arguments.experiment,
        identity=identity_from_environment(),
    )
    write_result(run_gate(Registry.connect(arguments.model_name), request))


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


if __name__ == "__main__":
    run_main(main)
