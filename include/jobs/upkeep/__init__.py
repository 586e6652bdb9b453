"""The lake's upkeep: maintenance of tables, the audit trail, erasure of a household.

What Spark does begins in `main`; what needs no Spark is a command of `python -m include.jobs.upkeep`.
"""
