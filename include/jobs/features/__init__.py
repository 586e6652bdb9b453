"""The Spark job that turns events into feature tables: users, items, interactions, preferences, demand.

`main` is what spark-submit runs, `history` knows what the lake holds, `compute` is the features themselves
(DataFrames in, DataFrames out), `session` and `tables` are Spark's way to the lake.
"""
