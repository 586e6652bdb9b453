"""What runs inside pods: one folder per image, plus `lake`, the one way to the lake.

Plain Python: nothing here imports Airflow, the plugins or the platform's configuration. A job meets the
orchestrator only through its command line, its environment and the files that it leaves.
"""
