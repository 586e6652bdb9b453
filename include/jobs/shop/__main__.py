"""Command line of the shop image: `python -m include.jobs.shop produce|traffic`."""

import argparse
import logging
import os
import sys
from pathlib import Path

from include.jobs.lake.command_line import Parser
from include.jobs.lake.connections import kafka_client, read_credential
from include.jobs.lake.errors import run_main
from include.jobs.lake.result import write_result


def main() -> None:
    """Parse the command line and run the command."""
    parser = Parser(prog="python -m include.jobs.shop", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    produce = commands.add_parser("produce", help="bring a topic to hold the year of a stream")
    produce.add_argument("--stream", choices=("transactions", "promotions", "inventory"), default="transactions")
    produce.add_argument("--topic", required=True)
    produce.add_argument("--partitions", type=int, default=4, help="of a topic that is created")
    produce.add_argument("--broken", type=int, default=1000, help="broken records among the good ones")
    produce.add_argument("--households", type=int, help="only the first so many households; of transactions")
    produce.add_argument("--products", type=int, help="only the so many most sold; not of transactions")
    produce.add_argument("--months", type=int, help="only the first so many local months")
    produce.add_argument("--seed", type=int, default=7)
    traffic = commands.add_parser("traffic", help="ask for recommendations until SIGTERM")
    traffic.add_argument("--url", required=True, help="address of the predict call")
    traffic.add_argument("--host", help="Host header, where the gateway routes by it")
    traffic.add_argument("--rate", type=_positive, default=20.0, help="requests a second")
    traffic.add_argument("--households", type=int, help="only the first so many households")
    traffic.add_argument("--duration", type=_positive, help="seconds after which to stop without a signal")
    traffic.add_argument("--out", type=Path, required=True, help="file of the statistics, rewritten each second")
    traffic.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    {"produce": _produce, "traffic": _traffic}[arguments.command](arguments)


def _produce(arguments: argparse.Namespace) -> None:
    from include.jobs.shop.events import events
    from include.jobs.shop.produce import produce
    from include.jobs.shop.streams import STREAMS, Slice

    stream = STREAMS[arguments.stream]
    rows = stream.read(Slice(arguments.households, arguments.months, arguments.products))
    result = produce(
        kafka_client(),
        arguments.topic,
        arguments.partitions,
        lambda: events(stream, rows, arguments.broken, arguments.seed),
    )
    write_result(result | {"broken": arguments.broken})


def _traffic(arguments: argparse.Namespace) -> None:
    import asyncio

    from include.jobs.shop.source import household_ids
    from include.jobs.shop.traffic import Traffic, run

    traffic = Traffic(
        url=arguments.url,
        rate=arguments.rate,
        households=household_ids(arguments.households),
        out=arguments.out,
        seed=arguments.seed,
        host=arguments.host,
        duration_s=arguments.duration,
        key=_serving_key(),
    )
    statistics = asyncio.run(run(traffic))
    write_result({name: value for name, value in statistics.items() if name != "seconds"})


def _serving_key() -> str:
    """What the model servers ask for; empty where no Secret is mounted, so that they are open."""
    folder = os.environ.get("PODIUM_CREDENTIALS_DIR")
    return read_credential(Path(folder), "serving_key") if folder else ""


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


if __name__ == "__main__":
    run_main(main)
