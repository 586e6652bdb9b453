"""A schema registry that keeps what it is told in memory: Apicurio Registry. Run by the launcher's Python.

    python -m tests.jobs.ingest.apicurio FOLDER PLAIN TLS

fetches it if need be, writes a certificate into FOLDER, and becomes the registry on those ports of 127.0.0.1.
"""

import os
import sys
from pathlib import Path

from include.devcluster.tls import ensure
from include.stack.jars import Jars
from include.stack.java import find
from include.stack.paths import Paths

ONE = "127.0.0.1"
LOCK = Path(__file__).with_name("apicurio.lock")


def main() -> None:
    """Become the registry."""
    folder, (plain, tls) = Path(sys.argv[1]), sys.argv[2:]
    paths = Paths.from_environment()
    program = Jars("apicurio", LOCK, paths.cache).build(lambda _: None, lambda: False)
    server = ensure(folder / "server", ONE)
    settings = {
        "quarkus.http.host": ONE,
        "quarkus.http.port": plain,
        "quarkus.http.ssl-port": tls,
        "quarkus.http.ssl.certificate.files": server.certificate,
        "quarkus.http.ssl.certificate.key-files": server.key,
    }
    java = str(find(paths.cache).program)
    jvm = ("-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
    (runner,) = program.glob("*-runner.jar")
    os.execv(java, [java, *jvm, *(f"-D{name}={value}" for name, value in settings.items()), "-jar", str(runner)])


if __name__ == "__main__":
    main()
