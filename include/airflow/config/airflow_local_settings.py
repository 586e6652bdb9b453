"""What Airflow's processes do before they set themselves up. Airflow imports this module by its name from `sys.path`.

The long-lived parents of all that runs DAG code import heavy packages once: tasks, file parsers and the trigger runner
are forks of the scheduler, the dag-processor and the triggerer and inherit what those have imported. Without this every
single task spends some seven CPU-seconds on importing its operators.

The API server, which alone reads the logs of tasks, reads them from the shared disk.
"""

import importlib
import logging
import sys
import time

log = logging.getLogger(__name__)

PARENTS = frozenset({"scheduler", "dag-processor", "triggerer"})

# Other people's packages only: what lies in this repository is read anew by every task, so that an edit counts at once.
MODULES = (
    "airflow.providers.cncf.kubernetes.operators.spark_kubernetes",
    "kubernetes.client",
    "kubernetes.watch",
    "kubernetes_asyncio.client",
    "boto3",
    "botocore.client",
    "httpx",
    "pydantic_settings",
)


def preload() -> None:
    """Import `MODULES`; one that fails is reported and left to fail where it is used."""
    started = time.monotonic()
    for name in MODULES:
        try:
            importlib.import_module(name)
        except Exception:
            # The parent must come up all the same: the DAG that needs the module then shows the import error.
            log.exception("Preloading %s failed", name)
    log.info("Preloaded %d modules in %.1f s", len(MODULES), time.monotonic() - started)


def read_from_disk() -> None:
    """Have the logs of tasks read without a log server.

    Of a configuration of one's own (`logging_config_class`) every process would say a line; Airflow's default, of which
    this is one word, is read after this module.
    """
    from airflow.config_templates.airflow_local_settings import DEFAULT_LOGGING_CONFIG

    DEFAULT_LOGGING_CONFIG["handlers"]["task"]["class"] = "include.airflow.task_logs.SharedDiskTaskHandler"


if PARENTS & set(sys.argv[1:2]):
    preload()
if sys.argv[1:2] == ["api-server"]:
    read_from_disk()
