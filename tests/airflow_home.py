"""Gives Airflow a home of its own before it is imported: otherwise it would write into the user's."""

import os
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]


def isolate() -> Path:
    """Point Airflow at a folder that goes with the machine's temporary files; the same one for a whole process."""
    if "PODIUM_TEST_AIRFLOW_HOME" not in os.environ:
        home = Path(tempfile.mkdtemp(prefix="podium-airflow-"))
        os.environ |= {
            "PODIUM_TEST_AIRFLOW_HOME": str(home),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(CHECKOUT / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(CHECKOUT / "plugins"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        }
    return Path(os.environ["PODIUM_TEST_AIRFLOW_HOME"])
