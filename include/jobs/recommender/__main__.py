"""Command line of the recommender image: `python -m include.jobs.recommender train`, run by every rank."""

import argparse
import datetime as dt
import logging
import sys

from include.jobs.lake.command_line import Parser
from include.jobs.lake.errors import run_main


def main() -> None:
    """Parse the command line and train; the first rank writes the result."""
    parser = Parser(prog="python -m include.jobs.recommender", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train on the lake's features and register a candidate")
    train.add_argument("--train-cutoffs", required=True, type=_days, help="first days of months, with commas between")
    train.add_argument("--validation-cutoff", required=True, type=dt.date.fromisoformat)
    train.add_argument(
        "--serving-cutoff",
        type=dt.date.fromisoformat,
        help="what is known before this day goes into the model (default: the month after the validation month)",
    )
    train.add_argument("--timezone", default="America/New_York", help="of the shops: their months are local ones")
    train.add_argument("--epochs", type=int, default=10, help="at most")
    train.add_argument("--patience", type=int, default=5, help="epochs without better validation before it ends")
    train.add_argument("--batch-size", type=int, default=8192, help="rows a worker and step")
    train.add_argument("--learning-rate", type=float, default=2e-3)
    train.add_argument("--layers", type=_widths, default=(128, 64), help="widths, with commas between")
    train.add_argument("--seed", type=int, required=True)
    train.add_argument("--experiment", default="recommender")
    train.add_argument("--model-name", default="recommender")
    train.add_argument("--result", help="s3:// address for the result, where no side-car collects one")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    _train(arguments)


def _train(arguments: argparse.Namespace) -> None:
    # TensorFlow takes seconds to import: a wrong command line is told before that.
    from include.jobs.lake.connections import Connections
    from include.jobs.lake.result import write_object, write_result
    from include.jobs.ranking.source import next_month
    from include.jobs.recommender.plan import TrainingPlan

    plan = TrainingPlan(
        train_cutoffs=tuple(sorted(arguments.train_cutoffs)),
        validation_cutoff=arguments.validation_cutoff,
        serving_cutoff=arguments.serving_cutoff or next_month(arguments.validation_cutoff),
        timezone=arguments.timezone,
        epochs=arguments.epochs,
        patience=arguments.patience,
        batch_rows=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        layers=arguments.layers,
        seed=arguments.seed,
    )
    from include.jobs.ranking.registry import identity_from_environment
    from include.jobs.recommender.train import Destination, train

    result = train(plan, Destination(arguments.experiment, arguments.model_name, identity_from_environment()))
    if result is not None:
        if arguments.result:
            write_object(arguments.result, result, Connections.from_environment())
        write_result(result)


def _days(text: str) -> tuple[dt.date, ...]:
    return tuple(dt.date.fromisoformat(part.strip()) for part in text.split(","))


def _widths(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)


if __name__ == "__main__":
    run_main(main)
