"""Starting, stopping, and what comes in between: crashes, Ctrl-C, ports in use, broken files."""

import json
import os
import signal
import socket

import psycopg
import pytest

from include.stack.environments import step_of
from include.stack.services import catalogue, postgres
from include.stack.supervisor import Supervisor
from include.stack.up import plan
from include.stack.venvs import Spawner
from include.stack.watchdog import Watchdog
from tests.stack.conftest import Sandbox, Started, wait_for


def _pid(started: Started, name: str) -> int:
    wait_for(lambda: started.state(name).running)
    return started.state(name).pid


def test_up_is_healthy(shared: Started) -> None:
    outcome = shared.sandbox.run("status")
    assert outcome.returncode == 0, outcome.stdout


def test_the_whole_platform_has_what_its_pods_need(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = sandbox.platform(monkeypatch)
    services = catalogue.services(platform)
    steps = {
        images: {step.name for step in plan(platform, Supervisor(platform), services, set(), Spawner(), images=images)}
        for images in (True, False)
    }
    pods_need = {step_of(part) for part in (*platform.environments.images.values(), platform.environments.spark_jars)}
    assert steps[True] - steps[False] == pods_need
    assert {service.name for service in services} <= steps[False]


def test_down_leaves_nothing(started: Started) -> None:
    assert started.sandbox.run("down").returncode == 0
    assert started.sandbox.processes() == []
    assert started.sandbox.run("status").returncode != 0


def test_everything_listens_on_loopback_alone(shared: Started) -> None:
    listening = {
        connection.laddr[0]
        for process in shared.sandbox.processes()
        for connection in process.net_connections("tcp")
        if connection.status == "LISTEN"
    }
    assert listening == {"127.0.0.1"}


def test_up_again_leaves_running_services_alone(shared: Started) -> None:
    before = {name: shared.state(name).pid for name in Started.NAMES}
    outcome = shared.up_again()
    assert outcome.returncode == 0, outcome.stdout
    assert {name: shared.state(name).pid for name in Started.NAMES} == before


@pytest.mark.parametrize("name", Started.NAMES)
def test_a_killed_service_is_restarted(shared: Started, name: str) -> None:
    before = _pid(shared, name)
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: shared.state(name).running and shared.state(name).pid != before)
    outcome = shared.up_again()  # returns when it is healthy
    assert outcome.returncode == 0, outcome.stdout


def test_a_service_that_hangs_is_restarted(shared: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _pid(shared, "postgres")
    service = postgres.service(shared.sandbox.platform(monkeypatch))
    patient = Watchdog(shared.supervisor, [service])
    impatient = Watchdog(shared.supervisor, [type(service)(**{**vars(service), "start_timeout_s": 0.0})], failures=2)
    assert patient.look() == []
    os.kill(before, signal.SIGSTOP)
    assert impatient.look() == []
    assert impatient.look() == ["postgres"]
    assert _pid(shared, "postgres") != before


def test_up_repairs_what_a_killed_supervisor_left(started: Started) -> None:
    started.kill_supervisor()
    assert started.sandbox.processes() != []
    assert "supervisor is gone" in started.sandbox.run("status").stdout
    outcome = started.up_again()
    assert outcome.returncode == 0, outcome.stdout
    assert "crash" in outcome.stdout


def test_down_ends_what_a_killed_supervisor_left(started: Started) -> None:
    started.kill_supervisor()
    assert started.sandbox.run("down").returncode == 0
    assert started.sandbox.processes() == []


def test_up_repairs_after_all_was_killed_at_once(started: Started) -> None:
    table = "CREATE TABLE IF NOT EXISTS kept (n int); INSERT INTO kept VALUES (1)"
    with _lake(started.sandbox) as connection:
        connection.execute(table)
    for process in started.sandbox.processes():
        process.kill()
    wait_for(lambda: not started.sandbox.processes())
    # As after a power cut: the lock of a process that is gone, and whose number somebody else has now.
    lock = started.sandbox.paths.data / "postgres" / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n")
    outcome = started.up_again()
    assert outcome.returncode == 0, outcome.stdout
    with _lake(started.sandbox) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1,)


def test_a_half_made_database_is_made_anew(sandbox: Sandbox) -> None:
    half = sandbox.paths.data / "postgres.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18")
    outcome = sandbox.run("up", "--only", "postgres")
    assert outcome.returncode == 0, outcome.stdout
    assert not half.exists()


@pytest.mark.parametrize("after", ["postgres", "supervisord"])
def test_ctrl_c_while_starting_leaves_nothing(sandbox: Sandbox, after: str) -> None:
    process = sandbox.start("up", "--only", "kafka", "postgres", "s3")
    wait_for(lambda: any(after in " ".join(one.cmdline()) for one in sandbox.processes()))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "interrupted" in output
    assert sandbox.processes() == []


def test_a_port_in_use_is_named_with_its_key_and_its_owner(sandbox: Sandbox) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", sandbox.ports["postgres"]))
        taken.listen()
        outcome = sandbox.run("up", "--only", "postgres")
    assert outcome.returncode == 1
    assert f"port {sandbox.ports['postgres']} (ports.postgres) is in use by process {os.getpid()}" in outcome.stdout
    assert "PODIUM_PORTS__POSTGRES=" in outcome.stdout
    assert "Traceback" not in outcome.stdout
    assert sandbox.processes() == []


def test_a_broken_credentials_file_is_told_and_kept(sandbox: Sandbox) -> None:
    sandbox.paths.home.mkdir()
    sandbox.paths.credentials.write_text('{"s3_access_key": "who knows"')
    outcome = sandbox.run("up", "--only", "s3")
    assert outcome.returncode == 1
    assert str(sandbox.paths.credentials) in outcome.stdout
    assert "Restore it" in outcome.stdout
    assert "who knows" not in outcome.stdout
    assert sandbox.paths.credentials.read_text() == '{"s3_access_key": "who knows"'


def test_a_service_that_cannot_start_is_told_with_the_end_of_its_log(started: Started) -> None:
    started.sandbox.run("down")
    (started.sandbox.paths.data / "postgres" / "PG_VERSION").write_text("9\n")
    outcome = started.up_again()
    assert outcome.returncode == 1
    assert "postgres keeps dying" in outcome.stdout
    assert "not compatible with this version" in outcome.stdout
    assert started.sandbox.processes() == []


def test_changed_settings_restart_what_they_concern(started: Started) -> None:
    before = {name: started.state(name).pid for name in Started.NAMES}
    ports = started.sandbox.ports
    ports["s3_filer"], ports["mlflow"] = ports["mlflow"], ports["s3_filer"]  # of the two only S3 runs here
    outcome = started.up_again()
    assert outcome.returncode == 0, outcome.stdout
    assert started.state("s3").pid != before["s3"]


def test_secrets_are_in_no_command_line_and_no_readable_file(shared: Started) -> None:
    secrets = {value for value in json.loads(shared.sandbox.paths.credentials.read_text()).values() if len(value) > 11}
    for process in shared.sandbox.processes():
        assert not any(secret in " ".join(process.cmdline()) for secret in secrets)
    for path in shared.sandbox.paths.home.rglob("*"):
        if path.is_file() and path.stat().st_mode & 0o077 and not path.is_relative_to(shared.sandbox.paths.data):
            text = path.read_text(errors="replace")
            assert not any(secret in text for secret in secrets), path


def test_two_starts_at_once_take_turns(sandbox: Sandbox) -> None:
    first, second = (sandbox.start("up", "--only", "postgres") for _ in range(2))
    outputs = [process.communicate(timeout=120)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert len([process for process in sandbox.processes() if "supervisord" in " ".join(process.cmdline())]) == 1


def test_unknown_services_are_named(sandbox: Sandbox) -> None:
    outcome = sandbox.run("up", "--only", "zookeeper")
    assert outcome.returncode == 1
    assert "there is no service zookeeper" in outcome.stdout


def _lake(sandbox: Sandbox) -> "psycopg.Connection[tuple[int]]":
    password = json.loads(sandbox.paths.credentials.read_text())["lake_database_password"]
    return psycopg.connect(f"postgresql://lake:{password}@127.0.0.1:{sandbox.ports['postgres']}/lake")
