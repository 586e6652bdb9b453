"""The broker asks who comes, also where it did not before."""

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from include.stack.services import kafka
from tests.gates import listeners, walk
from tests.services import OPEN_BROKER
from tests.stack.conftest import Sandbox


def test_an_open_broker_closes_and_keeps_its_topics(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    address = {"bootstrap.servers": f"127.0.0.1:{sandbox.ports['kafka']}", "log_level": 0}
    with monkeypatch.context() as environment:
        for name, value in OPEN_BROKER.items():
            environment.setenv(name, value)
        outcome = sandbox.run("up", "--only", "kafka")
    assert outcome.returncode == 0, outcome.stdout
    # What it was asked ends with it: it has to stay while the answer is waited for.
    admin = AdminClient(address)
    admin.create_topics([NewTopic("kept", 1)])["kept"].result(30)

    outcome = sandbox.run("up", "--only", "kafka")
    assert outcome.returncode == 0, outcome.stdout
    assert "restarting kafka" in outcome.stdout
    client = kafka.client(sandbox.platform(monkeypatch))
    assert "kept" in AdminClient(client).list_topics(timeout=30).topics
    assert walk(listeners(sandbox.paths.home), sandbox.ports, {}) == []
    for wrong in ({"sasl.password": "guessed"}, {"sasl.mechanism": "PLAIN"}):
        with pytest.raises(KafkaException):
            AdminClient(client | wrong | {"log_level": "0"}).list_topics(timeout=5)
