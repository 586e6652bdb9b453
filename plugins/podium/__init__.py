"""Podium's side of Airflow: operators, triggers, hooks, assets.

DAG files import from here; nothing here imports a job, and nothing here talks to the network at import.
"""
