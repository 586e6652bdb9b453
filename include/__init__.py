"""Everything beside the DAGs: jobs that run in pods, configuration, contracts, the dev cluster and the stack.

Nothing here imports `dags` or `plugins`; the import rules live in pyproject.toml.
"""
