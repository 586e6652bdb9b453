"""Contracts of the data: the schema of each event version, and the expectations on a whole interval.

Data files only (YAML). `include.jobs.ingest` reads them; nothing else decides what a good record is.
"""
