"""The demonstration: the whole pipeline on real data, and a report of what came out.

It drives the platform as a person would: through Airflow's API and the Kubernetes API. It holds no pipeline logic.
"""

from include.demo.run import DemoError, Options, run

__all__ = ["DemoError", "Options", "run"]
