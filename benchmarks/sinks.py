"""What users would take instead of the ingest: reads the same topic, and writes Parquet to the same store."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

from include.config import load_settings
from include.stack.credentials import load
from include.stack.files import write_private
from include.stack.paths import Paths
from include.stack.service import Platform
from include.stack.services.devcluster import secrets_of

OBJECT = "s3://lake/bench/provider.parquet"
#: It counts news of errors as records.
NEARLY = 0.999


def provider_operator(topic: str, records: int, contract: str) -> float:
    """Records a second of the Airflow provider's ConsumeFromTopicOperator, on the running platform.

    :param contract: that each record is held against.
    :raises RuntimeError: it fails, or reads fewer records.
    """
    paths = Paths.from_environment()
    settings = load_settings()
    platform = Platform(settings, paths, load(paths.credentials))
    folder = paths.checkout / "build" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for name, value in secrets_of(platform).items():
            write_private(Path(scratch) / name, value)
        environment = platform.base_environment() | settings.platform_environment()
        environment |= {
            # Airflow writes a configuration where it finds none.
            "AIRFLOW_HOME": scratch,
            "PODIUM_CREDENTIALS_DIR": scratch,
            "PYTHONPATH": str(paths.checkout),
            "PATH": f"{platform.environments.airflow.bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }
        done = subprocess.run(
            [platform.environments.airflow.python, "-m", "benchmarks.provider", topic, str(records), OBJECT, contract],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"ConsumeFromTopicOperator ended with {done.returncode}: {done.stderr[-2000:]}")
    result = json.loads(done.stdout.splitlines()[-1])
    if result["rows"] < NEARLY * records:
        raise RuntimeError(f"ConsumeFromTopicOperator wrote {result['rows']} of {records} records of {topic}")
    return float(result["rows"] / result["seconds"])
