"""All services of the platform, and the steps that prepare them."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from include.stack.graph import Report, Step
from include.stack.service import Platform, Service
from include.stack.services import airflow, devcluster, envoy, exposure, kafka, mlflow, postgres, seaweedfs

WATCHDOG = "watchdog"


def services(platform: Platform) -> list[Service]:
    """Everything that the supervisor keeps alive."""
    return [
        kafka.service(platform),
        seaweedfs.service(platform),
        postgres.service(platform),
        mlflow.service(platform),
        envoy.service(platform),
        exposure.service(platform) if platform.own_cluster else devcluster.service(platform),
        *([] if platform.settings.kubernetes.operators else [devcluster.controllers(platform)]),
        *airflow.services(platform),
        watchdog(platform),
    ]


def watchdog(platform: Platform) -> Service:
    """Restarts a service that runs but does not answer."""
    return Service(
        name=WATCHDOG,
        command=(platform.python, "-m", "include.stack.watchdog"),
        health=lambda: None,
        environment=platform.checkout_python(),
        stage=5,
    )


@dataclass(frozen=True)
class Preparation:
    """Something that has to be done before, or right after, a service starts.

    :param name: of the step.
    :param owner: the service that it belongs to.
    :param does: does it.
    :param needs: steps that must be done before, of this platform.
    :param at_rest: whether it must not be done while the service runs.
    """

    name: str
    owner: str
    does: Callable[[Platform], None]
    needs: Callable[[Platform], frozenset[str]]
    at_rest: bool = False

    def step(self, platform: Platform, running: Collection[str]) -> Step:
        """The step that does it.

        :param running: services that run already.
        """

        def run(report: Report) -> str:
            if self.at_rest and self.owner in running:
                return "runs already"
            report("preparing")
            self.does(platform)
            return "prepared"

        return Step(self.name, run, self.needs(platform))


def preparations() -> list[Preparation]:
    """All of them."""

    def after(*names: str) -> Callable[[Platform], frozenset[str]]:
        return lambda _: frozenset(names)

    return [
        Preparation(kafka.FORMAT, kafka.NAME, kafka.prepare, kafka.steps_before, at_rest=True),
        Preparation(kafka.USERS, kafka.NAME, kafka.create_users, after(kafka.NAME)),
        Preparation(seaweedfs.PREPARE, seaweedfs.NAME, seaweedfs.prepare, after(), at_rest=True),
        Preparation(seaweedfs.BUCKETS_STEP, seaweedfs.NAME, seaweedfs.create_buckets, after(seaweedfs.NAME)),
        Preparation(postgres.INITDB, postgres.NAME, postgres.prepare, after(), at_rest=True),
        Preparation(postgres.DATABASES, postgres.NAME, postgres.create_databases, after(postgres.NAME)),
        Preparation(envoy.PREPARE, envoy.NAME, envoy.prepare, after()),
        Preparation(devcluster.CONFIG, devcluster.NAME, devcluster.prepare, after()),
        Preparation(exposure.PREPARE, exposure.NAME, exposure.prepare, after()),
        Preparation(devcluster.OBJECTS, airflow.SCHEDULER, devcluster.create_objects, devcluster.steps_before),
        Preparation(airflow.DATABASE, airflow.SERVER, airflow.migrate, airflow.steps_before, at_rest=True),
    ]
