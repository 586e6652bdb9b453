"""How Podium runs Airflow: its settings, its preload and its first start.

Holds nothing that a DAG file or a job imports; the real `airflow` package is imported by name from here.
"""
