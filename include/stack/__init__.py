"""Starts, watches and stops the embedded platform, and builds the environments that it runs in.

May import `include.config`; never `include.jobs` or the Airflow plugins. `bootstrap.py`, `prerequisites.py` and
`venvs.py` use the standard library alone, because they run before anything is installed.
"""
