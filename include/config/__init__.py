"""Settings of one environment, read from one YAML file and validated as a whole.

Holds data and its models only: no network, no Airflow, nothing that is slow to import.
"""

from include.config.settings import (
    ConfigError,
    Settings,
    load_settings,
)

__all__ = ["ConfigError", "Settings", "load_settings"]
