"""A broker that lets nobody in without TLS: a second one, from the platform's jars. Run by the launcher's Python.

    python -m tests.jobs.ingest.secured FOLDER CLIENTS MUTUAL INTERNAL CONTROLLER

writes certificates and configuration into FOLDER, formats it, and becomes the broker with a listener of each kind on
those ports: SASL_SSL with SCRAM-SHA-512, SSL that asks for the client's certificate, and an open one for its own use.
"""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

from include.config import load_settings
from include.devcluster.tls import Certificate, ensure
from include.stack.environments import Environments
from include.stack.java import find
from include.stack.paths import Paths

ONE = "127.0.0.1"


@dataclasses.dataclass(frozen=True)
class Ports:
    """Of the listeners."""

    clients: int
    mutual: int
    internal: int
    controller: int


def properties(folder: Path, server: Certificate, client: Certificate, ports: Ports) -> str:
    """The broker's configuration."""
    store = folder / "keystore.pem"
    store.write_text(server.key.read_text() + server.certificate.read_text())
    addresses = {
        "CLIENTS": ports.clients,
        "MUTUAL": ports.mutual,
        "INTERNAL": ports.internal,
    }
    listeners = ",".join(f"{name}://{ONE}:{port}" for name, port in addresses.items())
    lines = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.bootstrap.servers": f"{ONE}:{ports.controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"{listeners},CONTROLLER://{ONE}:{ports.controller}",
        "advertised.listeners": f"{listeners},CONTROLLER://{ONE}:{ports.controller}",
        "listener.security.protocol.map": "CLIENTS:SASL_SSL,MUTUAL:SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "INTERNAL",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.clients.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        **{
            f"listener.name.{name}.ssl.keystore.{key}": value
            for name in ("clients", "mutual")
            for key, value in (("type", "PEM"), ("location", store))
        },
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.mutual.ssl.truststore.type": "PEM",
        "listener.name.mutual.ssl.truststore.location": client.certificate,
        "log.dirs": folder / "data",
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def main() -> None:
    """Prepare the folder and become the broker."""
    folder, ports = Path(sys.argv[1]), Ports(*map(int, sys.argv[2:]))
    server, client = ensure(folder / "server", ONE), ensure(folder / "client", ONE)
    config = folder / "kafka.properties"
    config.write_text(properties(folder, server, client, ports))
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
    tool = ["kafka.tools.StorageTool", "format", "-t", "p0dium-tests-secured-0", "-c", str(config), "--standalone"]
    subprocess.run([*java, *tool], check=True)
    os.execv(java[0], [*java, "kafka.Kafka", str(config)])


if __name__ == "__main__":
    main()
