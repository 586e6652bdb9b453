"""The services and the shop of the model suites."""

from tests.jobs.model_platform import platform

__all__ = ["platform"]
