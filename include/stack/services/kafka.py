"""Apache Kafka, one node in KRaft mode, run from its jars."""

import base64
import hashlib
import shutil
import subprocess
import uuid
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from include.stack.credentials import KAFKA_USER
from include.stack.environments import step_of
from include.stack.errors import ServiceError, Unhealthy
from include.stack.files import write_private
from include.stack.health import Check
from include.stack.ports import HOST
from include.stack.service import Platform, Service

NAME = "kafka"
FORMAT = "kafka-format"
USERS = "kafka-users"
ADMIN = "admin"
# The least that Kafka takes: the password is no word that could be guessed.
ITERATIONS = 4096
HEAP = "384m"
# Kafka's default is a third of that heap, and twice that when the cleaner starts anew: the broker runs out of memory.
CLEANER_BYTES = 32 << 20
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
        health=answers(platform),
        # Another configuration is another start.
        environment={"CONFIGURED_FOR": hashlib.sha256(_properties(platform, platform.data(NAME)).encode()).hexdigest()},
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
    write_private(run / "kafka.properties", _properties(platform, data))
    if (data / "meta.properties").is_file():
        return
    # Formatted beside its place and renamed: a formatting that was interrupted leaves nothing that looks done.
    draft = data.with_name("kafka.new")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.rmtree(data, ignore_errors=True)
    draft.mkdir(parents=True)
    properties = run / "kafka-format.properties"
    write_private(properties, _properties(platform, draft))
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


def create_users(platform: Platform) -> None:
    """Let the jobs and Airflow in: their password is that of the credentials file from then on.

    :raises ServiceError: the broker refuses.
    """
    if not asks(platform):
        return
    password = platform.credentials.kafka_password.get_secret_value().encode()
    how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS)
    wanted = UserScramCredentialUpsertion(KAFKA_USER, how, password)
    admin = _admin(platform)  # it must live until it is answered
    try:
        for answer in admin.alter_user_scram_credentials([wanted], request_timeout=30).values():
            answer.result(30)
    except KafkaException as error:
        raise ServiceError(
            f"the broker does not take the user {KAFKA_USER}: {error.args[0].str()}. "
            f"See {platform.paths.logs / f'{NAME}.log'}"
        ) from error


def asks(platform: Platform) -> bool:
    """Whether the broker asks who comes: always, unless the settings have an open one."""
    return platform.settings.kafka.sasl_mechanism is not None


def answers(platform: Platform) -> Check:
    """The broker lists its topics."""
    where = f"{HOST}:{platform.ports.kafka}"

    def check() -> None:
        try:
            _admin(platform).list_topics(timeout=5)
        except KafkaException as error:
            raise Unhealthy(f"the broker at {where} does not answer: {error.args[0].str()}") from error

    return check


def client(platform: Platform) -> dict[str, str]:
    """What a client of the jobs' rights begins with, as librdkafka's settings; it holds the password."""
    found = {"bootstrap.servers": f"{HOST}:{platform.ports.kafka}"}
    if asks(platform):
        found |= {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": KAFKA_USER,
            "sasl.password": platform.credentials.kafka_password.get_secret_value(),
        }
    return found


def _admin(platform: Platform) -> AdminClient:
    """A client that may do everything: by PLAIN, since users by SCRAM are what it makes, and on loopback alone."""
    login: dict[str, str | int | float | bool] = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": ADMIN,
        "sasl.password": platform.credentials.kafka_admin_password.get_secret_value(),
    }
    common: dict[str, str | int | float | bool] = {
        "bootstrap.servers": f"{HOST}:{platform.ports.kafka}",
        "log_level": 0,
        "socket.timeout.ms": 5000,
    }
    return AdminClient(common | (login if asks(platform) else {}))


def _java(platform: Platform) -> tuple[str, ...]:
    jars = platform.environments.kafka_jars.path
    log4j = platform.paths.run / "kafka-log4j2.properties"
    return (str(platform.java.program), *JVM, f"-Dlog4j2.configurationFile={log4j}", "-cp", f"{jars}/*")


def _logins(platform: Platform) -> str:
    """Who gets in where: clients by SCRAM; the broker itself, and the launcher, by PLAIN on loopback."""
    if not asks(platform):
        return ""
    password = platform.credentials.kafka_admin_password.get_secret_value()
    security = "org.apache.kafka.common.security"
    plain = (
        f'{security}.plain.PlainLoginModule required username="{ADMIN}" password="{password}" '
        f'user_{ADMIN}="{password}";'
    )
    scram = f"{security}.scram.ScramLoginModule required;"
    return f"""sasl.mechanism.inter.broker.protocol=PLAIN
sasl.mechanism.controller.protocol=PLAIN
listener.name.clients.sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.clients.scram-sha-512.sasl.jaas.config={scram}
listener.name.clients.plain.sasl.jaas.config={plain}
listener.name.pods.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.pods.scram-sha-512.sasl.jaas.config={scram}
listener.name.controller.sasl.enabled.mechanisms=PLAIN
listener.name.controller.plain.sasl.jaas.config={plain}
"""


def _properties(platform: Platform, data: Path) -> str:
    ports, pods = platform.ports, f"{HOST}:{platform.ports.kafka_pods}"
    broker, controller = f"{HOST}:{ports.kafka}", f"{HOST}:{ports.kafka_controller}"
    # Clients go on at the address that the broker names, so that the pods of another machine need a listener of theirs.
    outside = platform.settings.kubernetes.host_address or HOST
    protocol = "SASL_PLAINTEXT" if asks(platform) else "PLAINTEXT"
    return f"""# Written by `make up`.
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers={controller}
listeners=CLIENTS://{broker},PODS://{pods},CONTROLLER://{controller}
advertised.listeners=CLIENTS://{broker},PODS://{outside}:{ports.kafka_pods},CONTROLLER://{controller}
listener.security.protocol.map=CLIENTS:{protocol},PODS:{protocol},CONTROLLER:{protocol}
controller.listener.names=CONTROLLER
inter.broker.listener.name=CLIENTS
{_logins(platform)}log.dirs={data}
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
log.cleaner.dedupe.buffer.size={CLEANER_BYTES}
num.network.threads=2
num.io.threads=4
"""
