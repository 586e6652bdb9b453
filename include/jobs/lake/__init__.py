"""The one way to the lake: connections, catalog, tables, interval ledger, results.

Every job that reads or writes Iceberg tables or result files goes through here. Importing the package is cheap;
PyIceberg is imported by `catalog`, `tables`, `intervals`, `commits`, `erasures` and `feature_view` only, PySpark by
`spark`, so that images with one of the two can share the rest.
"""
