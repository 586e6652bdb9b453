"""Hooks: connections to the cluster, typed and free of Airflow's task machinery.

No waiting and no judgement here: one call, one answer.
"""
