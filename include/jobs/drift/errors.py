"""Errors of the drift check."""

from include.jobs.lake.errors import JobError


class DriftError(JobError):
    """The check cannot be made as asked."""
