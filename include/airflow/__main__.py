"""Print the ConfigMap `podium-airflow`, for the chart's `extraEnvFrom`: `python -m include.airflow prod`.

It holds how events of assets queue, how soon Airflow notices that a process of its own has died (`faults` in the
settings), and where OpenLineage's events go (`lineage`).
"""

import sys
from pathlib import Path
from typing import Final

import yaml

from include.airflow.settings import assets, faults, lineage
from include.config import ConfigError, load_settings

#: Where events lie in the image of the chart, with the transport `file`.
LINEAGE_FILE: Final = Path("/opt/airflow/logs/lineage.jsonl")


def main() -> int:
    """Print the ConfigMap as YAML; the environment is the argument, else `PODIUM_ENV`, else `local`."""
    try:
        settings = load_settings(sys.argv[1] if len(sys.argv) > 1 else None)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    data = assets() | faults(settings) | lineage(settings, LINEAGE_FILE)
    metadata = {"name": "podium-airflow", "namespace": settings.kubernetes.namespace}
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    yaml.safe_dump(manifest, sys.stdout, sort_keys=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
