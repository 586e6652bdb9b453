"""Apache Kafka, one node in KRaft mode, run from its jars."""

import base64
import shutil
import subprocess
import uuid
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from include.stack.environments import step_of
from include.stack.errors import ServiceError, Unhealthy
from include.stack.health import Check
from include.stack.ports import HOST
from include.stack.service import Platform, Service

NAME = "kafka"
FORMAT = "kafka-format"
HEAP = "384m"
# The broker is at rest most of the time: one collector thread, and the quick compiler alone, which halves its start.
JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true", "-XX:+ExitOnOutOfMemoryError")

_LOG4J = """status=warn
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %m (%c)%n
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
"""


def service(platform: Platform) -> Service:
    """The broker; its configuration is written by `prepare`."""
    run = platform.paths.run
    return Service(
        name=NAME,
        command=(*_java(platform), f"-Xms{HEAP}", f"-Xmx{HEAP}", "kafka.Kafka", str(run / "kafka.properties")),
        health=answers(platform.ports.kafka),
        ports=("kafka", "kafka_controller", "kafka_pods"),
        needs=frozenset({FORMAT}),
        stop_timeout_s=20.0,
    )


def prepare(platform: Platform) -> None:
    """Write the configuration, and format the data folder on the first start.

    :raises ServiceError: formatting failed.
    """
    run, data = platform.paths.run, platform.data(NAME)
    (run / "kafka-log4j2.properties").write_text(_LOG4J)
    (run / "kafka.properties").write_text(_properties(platform, data))
    if (data / "meta.properties").is_file():
        return
    # Formatted beside its place and renamed: a formatting that was interrupted leaves nothing that looks done.
    draft = data.with_name("kafka.new")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.rmtree(data, ignore_errors=True)
    draft.mkdir(parents=True)
    properties = run / "kafka-format.properties"
    properties.write_text(_properties(platform, draft))
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # In one word: one in 64 of these ids begins with a dash.
    tool = ("kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(properties), "--standalone")
    outcome = subprocess.run(
        [*_java(platform), *tool],
        capture_output=True,
        text=True,
        env=platform.base_environment(),
        check=False,
    )
    if outcome.returncode:
        raise ServiceError(f"Kafka's data folder {draft} cannot be formatted:\n{outcome.stdout}{outcome.stderr}")
    draft.rename(data)


def steps_before(platform: Platform) -> frozenset[str]:
    """What `prepare` needs."""
    return frozenset({step_of(platform.environments.kafka_jars)})


def answers(port: int) -> Check:
    """The broker lists its topics."""

    def check() -> None:
        client = AdminClient({"bootstrap.servers": f"{HOST}:{port}", "log_level": 0, "socket.timeout.ms": 5000})
        try:
            client.list_topics(timeout=5)
        except KafkaException as error:
            raise Unhealthy(f"the broker at {HOST}:{port} does not answer: {error.args[0].str()}") from error

    return check


def _java(platform: Platform) -> tuple[str, ...]:
    jars = platform.environments.kafka_jars.path
    log4j = platform.paths.run / "kafka-log4j2.properties"
    return (str(platform.java.program), *JVM, f"-Dlog4j2.configurationFile={log4j}", "-cp", f"{jars}/*")


def _properties(platform: Platform, data: Path) -> str:
    ports, pods = platform.ports, f"{HOST}:{platform.ports.kafka_pods}"
    broker, controller = f"{HOST}:{ports.kafka}", f"{HOST}:{ports.kafka_controller}"
    # Clients go on at the address that the broker names, so that the pods of another machine need a listener of theirs.
    outside = platform.settings.kubernetes.host_address or HOST
    return f"""# Written by `make up`.
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers={controller}
listeners=PLAINTEXT://{broker},PODS://{pods},CONTROLLER://{controller}
advertised.listeners=PLAINTEXT://{broker},PODS://{outside}:{ports.kafka_pods},CONTROLLER://{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PODS:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
num.partitions=4
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=2
group.initial.rebalance.delay.ms=0
log.segment.bytes=268435456
num.network.threads=2
num.io.threads=4
"""
