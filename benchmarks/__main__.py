"""Run all benchmarks on the running platform, print a table and write `build/bench/bench.json`."""

import json
import sys

from rich.console import Console
from rich.table import Table

from benchmarks import dev_cluster, ingest, noop_pod
from include.config import load_settings
from include.demo.airflow_api import AirflowApi
from include.demo.cluster import Cluster, PodFailedError
from include.stack.credentials import load
from include.stack.paths import Paths
from include.stack.ports import HOST


def main() -> int:
    """Measure, and tell."""
    settings, paths, console = load_settings(), Paths.from_environment(), Console()
    if settings.ports is None:
        console.print("benchmarks run on the embedded platform: PODIUM_ENV=local")
        return 2
    password = load(paths.credentials).airflow_admin_password.get_secret_value()
    results = {}
    with (
        Cluster(paths.kubeconfig, settings) as cluster,
        AirflowApi(f"http://{HOST}:{settings.ports.airflow}", "admin", password) as airflow,
    ):
        console.print("a pod that does nothing, bare and as a task …")
        results["noop_pod"] = noop_pod.measure(cluster, airflow)
        console.print("the dev cluster: many pods at once, many watch events, a week of use …")
        results["dev_cluster"] = dev_cluster.measure()
        console.print("intervals of 1, 5 and 20 million events, ingested and merely read …")
        try:
            cluster.start("bench-produce", "shop", ["produce", "--topic", settings.ingest.transactions.topic])
            cluster.result("bench-produce")
            results["ingest"] = ingest.measure(settings, cluster)
        except PodFailedError as error:
            console.print(f"ingest could not be measured: {error}", markup=False)
        finally:
            cluster.delete("bench-produce")
    table = Table("benchmark", "figure", "value")
    for name, figures in results.items():
        for figure, value in figures.items():
            table.add_row(name, figure, f"{value:,.2f}")
    console.print(table)
    output = paths.checkout / "build" / "bench" / "bench.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0 if "ingest" in results else 1


if __name__ == "__main__":
    sys.exit(main())
