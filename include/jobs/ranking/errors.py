"""Errors of ranking; each says what is wrong, where, and how to mend it."""

from include.jobs.lake.errors import JobError


class RankingError(JobError):
    """Features, model or purchases cannot be used as asked."""


class ModelFormatError(RankingError):
    """A model's files are damaged, incomplete or of a format that this code does not read."""
