"""What happens to tasks, recorded. `plugins/podium_listeners.py` registers what lies here with Airflow.

A listener runs inside Airflow's own processes: it is quick, and never fails a task.
"""
