"""Imports heavy packages once, in the long-lived parents of all that runs DAG code.

Tasks, file parsers and the trigger runner are forks of the scheduler, the dag-processor and the triggerer and
inherit what those have imported. Without this every single task spends some seven CPU-seconds on importing
its operators. Airflow imports this module by its name from `sys.path`.
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


if PARENTS & set(sys.argv[1:2]):
    preload()
