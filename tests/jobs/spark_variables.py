"""What a process needs in its environment to run Spark as the images that have it do."""

import hashlib
import os
from pathlib import Path

from tests.services import ROOT, ask_launcher

_FIND_JAVA = "import sys, pathlib; from include.stack.java import find; print(find(pathlib.Path(sys.argv[1])).home)"


def spark_variables() -> dict[str, str]:
    """Java, and a local master with the jars of the lake."""
    cache = Path(os.environ["PODIUM_CACHE"])
    lock = ROOT / "include" / "jobs" / "features" / "jars.lock"
    jars = cache / "jars" / f"features-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    assert jars.is_dir(), f"{jars} is missing: run `make setup`"
    # Sessions of a minute are over before the second compiler pays.
    options = f"--driver-memory 1g --driver-java-options -XX:TieredStopAtLevel=1 --driver-class-path {jars}/*"
    return {
        # The launcher knows which one fits.
        "JAVA_HOME": ask_launcher(_FIND_JAVA, str(cache)),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_SUBMIT_ARGS": f"--master local[2] {options} --name tests pyspark-shell",
    }
