"""A broker of its own for one test, from the platform's jars. Run by the launcher's Python.

    python -m tests.jobs.ingest.single FOLDER CLIENTS CONTROLLER

formats the folder when that is new, and becomes the broker with listeners on those ports.
"""

import os
import subprocess
import sys
from pathlib import Path

from include.config import load_settings
from include.stack.environments import Environments
from include.stack.java import find
from include.stack.paths import Paths

ONE = "127.0.0.1"


def main() -> None:
    """Prepare the folder and become the broker."""
    folder, clients, controller = Path(sys.argv[1]), *map(int, sys.argv[2:])
    listeners = f"CLIENTS://{ONE}:{clients},CONTROLLER://{ONE}:{controller}"
    lines = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.bootstrap.servers": f"{ONE}:{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": listeners,
        "advertised.listeners": listeners,
        "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "CLIENTS",
        "log.dirs": folder / "data",
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
    }
    config = folder / "kafka.properties"
    config.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    paths = Paths.from_environment()
    jars = Environments(paths, load_settings("local")).kafka_jars.path
    java = [
        str(find(paths.cache).program),
        "-Xmx256m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        f"{jars}/*",
    ]
    if not (folder / "data").exists():
        tool = ["kafka.tools.StorageTool", "format", "-t", "p0dium-tests-single-00", "-c", str(config), "--standalone"]
        subprocess.run([*java, *tool], check=True)
    os.execv(java[0], [*java, "kafka.Kafka", str(config)])


if __name__ == "__main__":
    main()
