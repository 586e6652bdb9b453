"""Run benchmarks, all or those named, print a table and write `build/bench/bench.json`."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import backfill, dev_cluster, features, ingest, ledger, overhead
from include.config import Settings, load_settings
from include.demo.airflow_api import AirflowApi
from include.demo.cluster import Cluster, PodFailedError
from include.stack import up
from include.stack.credentials import load
from include.stack.paths import Paths
from include.stack.ports import HOST
from include.stack.service import Platform

Figures = dict[str, float]


@dataclass(frozen=True)
class Bench:
    """What a benchmark may use: the platform, running, and how large it is to be."""

    platform: Platform
    settings: Settings
    cluster: Cluster
    airflow: AirflowApi
    sizes: list[int]
    kubeconfig: Path | None


def main() -> int:
    """Measure, and tell."""
    arguments = _parser().parse_args()
    names = arguments.names or list(DESCRIPTIONS)
    settings, paths, console = load_settings(), Paths.from_environment(), Console()
    if settings.ports is None:
        console.print("benchmarks run on the embedded platform: PODIUM_ENV=local")
        return 2
    results: dict[str, Figures] = {}
    if wanted := [name for name in ON_PLATFORM if name in names]:
        platform = Platform(settings, paths, load(paths.credentials))
        up.up(platform, console)
        password = load(paths.credentials).airflow_admin_password.get_secret_value()
        with (
            Cluster(paths.kubeconfig, settings) as cluster,
            AirflowApi(f"http://{HOST}:{settings.ports.airflow}", "admin", password) as airflow,
        ):
            bench = Bench(platform, settings, cluster, airflow, arguments.sizes, arguments.kubeconfig)
            for name in wanted:
                _measure(name, partial(ON_PLATFORM[name], bench), results, console)
    alone = {"dev_cluster": dev_cluster.measure, "features": partial(features.measure, arguments.scales)}
    for name, measure in alone.items():
        if name in names:
            _measure(name, measure, results, console)
    _tell(results, paths.checkout / "build" / "bench" / "bench.json", console)
    return 0 if set(results) == set(names) else 1


def _measure(name: str, measure: Callable[[], Figures], results: dict[str, Figures], console: Console) -> None:
    console.print(f"{name}: {DESCRIPTIONS[name]} …")
    try:
        results[name] = measure()
    except (PodFailedError, RuntimeError) as error:
        console.print(f"{name} could not be measured: {error}", markup=False)


def _tell(results: dict[str, Figures], output: Path, console: Console) -> None:
    """A table, and the file; what was measured before and is not among it stays there."""
    table = Table("benchmark", "figure", "value")
    for name, figures in results.items():
        for figure, value in figures.items():
            table.add_row(name, figure, f"{value:,.2f}")
    console.print(table)
    output.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {}
    output.write_text(json.dumps(before | results, indent=2) + "\n", encoding="utf-8")


def _overhead(bench: Bench) -> Figures:
    return overhead.measure(bench.platform, kubeconfig=bench.kubeconfig)


def _ingest(bench: Bench) -> Figures:
    _produce(bench)
    return ingest.measure(bench.platform, bench.cluster, bench.sizes)


def _ledger(bench: Bench) -> Figures:
    return ledger.measure(bench.platform)


def _backfill(bench: Bench) -> Figures:
    _produce(bench)
    return backfill.measure(bench.platform, bench.cluster)


def _produce(bench: Bench) -> None:
    """The year's events, none of them broken, if they are not in the topic yet."""
    where = ["--topic", ingest.SOURCE, "--partitions", str(bench.settings.ingest.transactions.partitions)]
    try:
        bench.cluster.start("bench-produce", "shop", ["produce", "--broken", "0", *where])
        bench.cluster.result("bench-produce")
    finally:
        bench.cluster.delete("bench-produce")


#: Those that need the platform; the others need nothing but their environments.
ON_PLATFORM: dict[str, Callable[[Bench], Figures]] = {
    "ingest": _ingest,
    "ledger": _ledger,
    # Last: they have the platform's Airflow paused.
    "backfill": _backfill,
    "overhead": _overhead,
}
DESCRIPTIONS = {
    "overhead": "a pod that does nothing, as a task on stock Airflow and on Podium's",
    "dev_cluster": "many pods at once, many watch events, a week of use",
    "ingest": "intervals of millions of events, ingested and merely read",
    "ledger": "the next interval after two years of hours, and after nine hours; a look at 300 partitions",
    "backfill": "a year of days through Airflow, and by one process",
    "features": "the features of the year, by Spark, DuckDB and Polars",
}


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    names = "; ".join(f"{name}: {text}" for name, text in DESCRIPTIONS.items())
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__, epilog=names)
    parser.add_argument("names", nargs="*", choices=[*DESCRIPTIONS, []], metavar="NAME", help="which (default: all)")
    parser.add_argument(
        "--scales",
        type=_numbers,
        default=list(features.SCALES),
        help="how many times the year's households the features are made of (default: 1,5,20)",
    )
    parser.add_argument(
        "--sizes",
        type=_numbers,
        default=list(ingest.SIZES),
        help="how many million events are ingested (default: 1,5,20)",
    )
    parser.add_argument(
        "--kubeconfig",
        type=Path,
        metavar="FILE",
        help="overhead: of a real cluster, to be measured beside the dev cluster",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
