"""A real Spark with the jars of its images, on a real lake, for the suites of those images."""

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from include.jobs.lake.connections import Connections
from include.jobs.lake.spark import lake_session
from tests.jobs.spark_variables import spark_variables


@pytest.fixture(scope="session")
def spark(connections: Connections) -> Iterator[SparkSession]:
    """A session as the job makes it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in spark_variables().items():
            patch.setenv(name, value)
        session = lake_session(connections)
        session.sparkContext.setLogLevel("ERROR")
        yield session
        session.stop()
