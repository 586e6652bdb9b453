"""Brings the platform up: builds what is missing, starts everything in order, repairs what a crash left."""

import shutil
import time
from collections.abc import Callable, Collection, Iterable

from rich.console import Console

from include.stack import down, graph, ports, processes
from include.stack.errors import ServiceError, StackError, Unhealthy
from include.stack.graph import Report, Step
from include.stack.jars import Jars
from include.stack.progress import Progress
from include.stack.service import Platform, Service
from include.stack.services import catalogue
from include.stack.supervisor import Supervisor
from include.stack.venvs import Spawner, Venv, exclusive

POLL_S = 0.2
# A service that has died this often while starting will not come up.
DEATHS = 3
LOG_TAIL = 15


def up(platform: Platform, console: Console, only: Collection[str] = ()) -> None:
    """Start what does not run yet, and return when all of it is healthy. Safe to repeat.

    A start that fails or is interrupted leaves no process, unless the platform ran before.

    :param only: names of services; the others are left out of this platform.
    :raises StackError: something cannot be built or started; the text says what, where, and what to do.
    """
    for folder in (platform.paths.home, platform.paths.data, platform.paths.logs, platform.paths.run):
        folder.mkdir(parents=True, exist_ok=True)
    platform.paths.home.chmod(0o700)
    with exclusive(platform.paths.home / "up.lock", "another start of this platform", console.print):
        _up(platform, console, only)


def _up(platform: Platform, console: Console, only: Collection[str]) -> None:
    supervisor = Supervisor(platform)
    services = _choose(catalogue.services(platform), only)
    spawner = Spawner()
    progress = Progress(console)
    ran = supervisor.alive()
    try:
        running = _take_over(platform, supervisor, services, console) if ran else set()
        if not ran:
            _launch(platform, supervisor, services, console)
        steps = plan(platform, supervisor, services, running, spawner, images=not only)
        with progress.shown():
            graph.run(steps, progress, spawner.cancel)
    except BaseException:
        spawner.cancel()
        if not ran:
            down.undo(platform.paths, console)
        raise


def _choose(services: list[Service], only: Collection[str]) -> list[Service]:
    if unknown := set(only) - {service.name for service in services}:
        names = ", ".join(service.name for service in services)
        raise StackError(f"there is no service {', '.join(sorted(unknown))}; there are {names}")
    return [service for service in services if not only or service.name in only]


def plan(
    platform: Platform,
    supervisor: Supervisor,
    services: list[Service],
    running: set[str],
    spawner: Spawner,
    *,
    images: bool,
) -> list[Step]:
    """These services and everything that they need.

    :param images: whether the images' environments, which no service waits for but every pod needs, are made too.
    """
    names = {service.name for service in services}
    preparations = [one for one in catalogue.preparations() if one.owner in names]
    environments = platform.environments.steps(platform.environments.platform(), spawner)
    everything = [
        *environments,
        *(one.step(platform, running) for one in preparations),
        *(_start(platform, supervisor, service, spawner) for service in services),
    ]
    wanted = [*names, *(one.name for one in preparations)]
    return graph.closure(everything, [*wanted, *(step.name for step in environments)] if images else wanted)


def build(platform: Platform, parts: Iterable[Venv | Jars], console: Console) -> None:
    """Build environments and fetch the jars, without starting anything. What is there is left alone.

    :raises StackError: something cannot be built.
    """
    spawner, progress = Spawner(), Progress(console)
    try:
        with progress.shown():
            graph.run(platform.environments.steps(parts, spawner), progress, spawner.cancel)
    except BaseException:
        spawner.cancel()
        raise


def _launch(platform: Platform, supervisor: Supervisor, services: list[Service], console: Console) -> None:
    """Start the supervisor on clean ground."""
    if left := processes.of_platform(platform.paths.home):
        console.print(f"ending {len(left)} process(es) that a crash has left behind")
        processes.end_all(platform.paths.home, patience_s=20.0)
    keys = {key for service in services for key in service.ports} | {"supervisor"}
    wanted = {key: getattr(platform.ports, key) for key in sorted(keys)}
    ports.check(wanted)
    if text := ports.at_risk(wanted):
        console.print(text)
    # Start scripts of services that are no more.
    shutil.rmtree(platform.paths.run)
    platform.paths.run.mkdir()
    supervisor.write(services)
    supervisor.launch()


def _take_over(platform: Platform, supervisor: Supervisor, services: list[Service], console: Console) -> set[str]:
    """Stop what has to start anew because its configuration has changed; return the services that go on running."""
    changed = supervisor.write(services)
    states = supervisor.states()
    if "supervisord" in changed:
        console.print("the configuration has changed: starting anew")
        down.down(platform.paths, console, quiet=True)
        _launch(platform, supervisor, services, console)
        return set()
    if stale := [name for name in changed if name in states]:
        console.print(f"the configuration has changed: restarting {', '.join(sorted(stale))}")
        supervisor.stop(stale)
    states = supervisor.states()
    # One that is just starting uses its data already.
    return {service.name for service in services if states[service.name].pid}


def _start(platform: Platform, supervisor: Supervisor, service: Service, spawner: Spawner) -> Step:
    """The step that starts a service and waits until it is healthy."""

    def run(report: Report) -> str:
        report("starting")
        supervisor.start(service.name)
        wait_until_healthy(platform, supervisor, service, report, lambda: spawner.cancelled)
        return "ready"

    return Step(service.name, run, service.needs)


def wait_until_healthy(
    platform: Platform,
    supervisor: Supervisor,
    service: Service,
    report: Report = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Wait until a service answers as its clients need it.

    :raises ServiceError: it keeps dying, or takes too long; the text holds the end of its log.
    """
    deadline = time.monotonic() + service.start_timeout_s
    pids: set[int] = set()
    reason = "it has not begun"
    while not cancelled():
        state = supervisor.states().get(service.name)
        if state is None:
            raise ServiceError(f"the supervisor has gone while {service.name} was starting: start again with `make up`")
        pids |= {state.pid} - {0}
        if state.state == "FATAL" or len(pids) > DEATHS:
            raise ServiceError(_failure(platform, service, f"keeps dying ({state.why or 'see its log'})"))
        if state.pid:
            try:
                service.health()
            except Unhealthy as error:
                reason = str(error)
            else:
                return
        if time.monotonic() > deadline:
            raise ServiceError(
                _failure(platform, service, f"is not ready after {service.start_timeout_s:.0f} s: {reason}")
            )
        report("waiting until it is ready")
        time.sleep(POLL_S)
    raise StackError("interrupted")


def _failure(platform: Platform, service: Service, what: str) -> str:
    log = platform.paths.logs / f"{service.name}.log"
    lines = log.read_text(errors="replace").splitlines()[-LOG_TAIL:] if log.is_file() else []
    return f"{service.name} {what}. The end of {log}:\n    " + "\n    ".join(lines)
