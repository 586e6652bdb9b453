from tests.airflow_home import isolate

isolate()
