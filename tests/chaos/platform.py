"""Services and jobs that a test can kill at any moment, as a machine would."""

import contextlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from pyarrow.fs import FileType

from include.jobs.lake.catalog import CatalogUnavailableError, open_catalog
from include.jobs.lake.connections import Connections, kafka_bootstrap_servers
from tests.jobs.spark_variables import spark_variables
from tests.services import ROOT, Services, image_environment

SERVICES = ("kafka", "s3", "postgres")
#: A job that has not ended by then hangs: services are back within seconds.
PATIENCE_S = 300.0

# A job is forked from a process that has imported what jobs import: it works from its first moment on, so that a
# random moment hits work. It is a process of its own all the same, and dies of SIGKILL as a pod does.
_jobs = multiprocessing.get_context("forkserver")
_jobs.set_forkserver_preload(
    [
        "include.jobs.ingest.__main__",
        "include.jobs.ingest.days",
        "include.jobs.ingest.interval",
        "include.jobs.ingest.topic",
        "include.jobs.ingest.validate",
        "include.jobs.lake.catalog",
        "great_expectations",
    ]
)


@dataclass(frozen=True)
class Kill:
    """What to kill, `POD` or a service, and when: seconds after the job began."""

    victim: str
    after_s: float


POD = "pod"


class Platform:
    """A platform's services, and the ingest jobs that use them.

    :param log: where the jobs' output goes.
    """

    def __init__(self, services: Services, credentials: Path, log: Path) -> None:
        self._log = log
        self._environment = services.platform_environment | {"PODIUM_CREDENTIALS_DIR": str(credentials)}
        self._connections = Connections.from_environment(self._environment)
        self._kafka = kafka_bootstrap_servers(self._environment)
        self._supervisor = f"http://podium:{services.credentials['supervisor_password']}@127.0.0.1"
        self._supervisor += f":{services.ports['supervisor']}/RPC2"

    def warm_up(self) -> None:
        """Import what jobs import, before anything is measured."""
        assert self._once(["--help"], None) == 0

    def kill(self, service: str) -> None:
        """SIGKILL for a service; its supervisor starts it again."""
        with xmlrpc.client.ServerProxy(self._supervisor) as proxy:
            pid = proxy.supervisor.getProcessInfo(service)["pid"]  # type: ignore[index,call-overload]
        # 0: it died just now, of an earlier kill.
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def repair(self) -> None:
        """Wait until every service does what jobs need of it."""
        deadline = time.monotonic() + PATIENCE_S
        for works in (self._s3_works, self._postgres_works, self._kafka_works):
            while not works():
                assert time.monotonic() < deadline, f"{works.__name__}: not after {PATIENCE_S:.0f} s"
                time.sleep(0.1)

    def _s3_works(self) -> bool:
        try:
            return self._connections.filesystem().get_file_info("lake").type is FileType.Directory
        except OSError:
            return False

    def _postgres_works(self) -> bool:
        try:
            catalog = open_catalog(self._connections)
        except CatalogUnavailableError:
            return False
        catalog.engine.dispose()
        return True

    def _kafka_works(self) -> bool:
        try:
            topics = AdminClient({"bootstrap.servers": self._kafka, "log_level": 0}).list_topics(timeout=5).topics
        except KafkaException:
            return False
        return all(partition.leader >= 0 for topic in topics.values() for partition in topic.partitions.values())

    def run(self, arguments: Sequence[str], kills: Sequence[Kill] = ()) -> int:
        """Run an ingest command until it succeeds, as Airflow's retries do; each try may suffer one of the kills.

        :return: how many tries it took.
        """
        pending = list(kills)
        for attempt in range(1, len(kills) + 4):
            kill = pending.pop(0) if pending else None
            code = self._once(arguments, kill)
            self.repair()
            if code == 0 and not pending:
                return attempt
        text = self._log.read_text(errors="replace")
        raise AssertionError(f"{' '.join(arguments)} fails although all services are healthy:\n{text[-4000:]}")

    def clean_up(self, tables: Sequence[str]) -> dict[str, Any]:
        """Run the upkeep of tables, of which nobody is writing any more.

        :return: what was done, by table.
        """
        python = image_environment("upkeep") / "bin" / "python"
        variables = {**os.environ, **self._environment, **spark_variables(), "PYTHONPATH": str(ROOT)}
        # Spark's workers are those of the image too.
        variables |= {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "PYSPARK_PYTHON": str(python)}
        with self._log.open("ab") as log:
            done = subprocess.run(
                [python, "-m", "tests.chaos.upkeep", *tables],
                env=variables,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                check=False,
            )
        assert done.returncode == 0, self._log.read_text(errors="replace")[-4000:]
        cleaned: dict[str, Any] = json.loads(done.stdout)
        return cleaned

    def _once(self, arguments: Sequence[str], kill: Kill | None) -> int:
        # Any process object of the context: its type is private.
        job: BaseProcess = _jobs.Process(target=_job, args=(list(arguments), self._environment, str(self._log)))
        began = time.monotonic()
        job.start()
        try:
            if kill is not None:
                job.join(kill.after_s)
                if kill.victim != POD:
                    self.kill(kill.victim)
                elif job.pid is not None and job.is_alive():
                    os.kill(job.pid, signal.SIGKILL)
            job.join(PATIENCE_S - (time.monotonic() - began))
            assert not job.is_alive(), f"{' '.join(arguments)} hangs: {self._log.read_text(errors='replace')[-4000:]}"
        finally:
            if job.is_alive():
                job.kill()
                job.join()
        assert job.exitcode is not None
        return job.exitcode


def _job(arguments: list[str], environment: dict[str, str], log: str) -> None:
    """What a pod of the ingest image runs."""
    from include.jobs.ingest.__main__ import main
    from include.jobs.lake.errors import run_main

    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.environ.update(environment)
    sys.argv = ["ingest", *arguments]
    run_main(main)


def draw(seed: int, seconds: dict[str, float]) -> dict[str, list[Kill]]:
    """The kills of a run, by command: `seconds` tells how long each takes undisturbed.

    Every run loses a service and the pod in the midst of each command, and sometimes one more; three runs in a row
    lose each service at each command.
    """
    chance = random.Random(seed)
    drawn = {}
    for place, (command, duration) in enumerate(seconds.items()):
        victims = [SERVICES[(seed + place) % len(SERVICES)], POD]
        if chance.random() < 0.5:
            victims.append(chance.choice((*SERVICES, POD)))
        chance.shuffle(victims)
        drawn[command] = [Kill(victim, chance.uniform(0.0, duration)) for victim in victims]
    return drawn
