"""Contracts of the data, one file a version: what a good record is, and what an interval of them must look like.

Data files only (YAML). `include.jobs.ingest` reads them; nothing else decides what a good record is. JSON Schema, the
columns of the tables and the Great Expectations suites are derived from them.
"""
