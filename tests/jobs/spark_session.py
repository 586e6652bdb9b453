"""A real Spark with the jars of its images, on a real lake, for the suites of those images."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from include.jobs.lake.connections import Connections
from include.jobs.lake.spark import lake_session
from tests.services import ROOT

_FIND_JAVA = "import sys, pathlib; from include.stack.java import find; print(find(pathlib.Path(sys.argv[1])).home)"


@pytest.fixture(scope="session")
def spark(connections: Connections) -> Iterator[SparkSession]:
    """A session as the job makes it."""
    cache = Path(os.environ["PODIUM_CACHE"])
    # The launcher knows which Java fits.
    python = os.environ.get("PODIUM_STACK_PYTHON", sys.executable)
    java = subprocess.run([python, "-c", _FIND_JAVA, str(cache)], cwd=ROOT, capture_output=True, text=True, check=True)
    lock = ROOT / "include" / "jobs" / "features" / "jars.lock"
    jars = cache / "jars" / f"features-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    assert jars.is_dir(), f"{jars} is missing: run `make setup`"
    # Sessions of a minute are over before the second compiler pays.
    java_options = "--driver-memory 1g --driver-java-options -XX:TieredStopAtLevel=1"
    submit = f"--master local[2] {java_options} --driver-class-path {jars}/* --name tests pyspark-shell"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_HOME", java.stdout.strip())
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        patch.setenv("PYSPARK_SUBMIT_ARGS", submit)
        session = lake_session(connections)
        session.sparkContext.setLogLevel("ERROR")
        yield session
        session.stop()
