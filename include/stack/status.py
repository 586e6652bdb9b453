"""Shows how the platform is: every service's state, health and memory, and where to go."""

from concurrent.futures import ThreadPoolExecutor

import psutil
from rich.console import Console
from rich.table import Table

from include.stack import processes
from include.stack.credentials import MLFLOW_USER
from include.stack.errors import Unhealthy
from include.stack.ports import HOST
from include.stack.service import Platform, Service
from include.stack.services import catalogue
from include.stack.supervisor import State, Supervisor


def status(platform: Platform, console: Console) -> bool:
    """Print the state of all services; return whether all of them are healthy."""
    states = Supervisor(platform).states()
    if not states:
        left = processes.of_platform(platform.paths.home)
        console.print("the platform is down" if not left else _orphans(left))
        return False
    services = [service for service in catalogue.services(platform) if service.name in states]
    with ThreadPoolExecutor(len(services)) as pool:
        verdicts = dict(pool.map(lambda one: (one.name, _verdict(one, states[one.name])), services))
    table = Table("service", "state", "health", "pid", "up for", "memory", "port", box=None, header_style="bold")
    total = 0
    for service in services:
        state, verdict = states[service.name], verdicts[service.name]
        memory = tree_memory(state.pid)
        total += memory
        table.add_row(
            service.name,
            state.state.lower(),
            f"[green]{verdict}" if verdict == "ok" else f"[red]{verdict}",
            str(state.pid or ""),
            _duration(state.uptime_s) if state.pid else "",
            f"{memory / 2**20:,.0f} MiB" if memory else "",
            str(getattr(platform.ports, service.ports[0])) if service.ports else "",
        )
    console.print(table)
    console.print(f"\nmemory of the services (PSS): {total / 2**30:.2f} GiB; logs: {platform.paths.logs}")
    addresses(platform, console)
    return all(verdict == "ok" for verdict in verdicts.values())


def addresses(platform: Platform, console: Console) -> None:
    """Print where to go, and how to log in."""
    ports = platform.ports
    password = platform.credentials.airflow_admin_password.get_secret_value()
    mlflow_password = platform.credentials.mlflow_password.get_secret_value()
    for what, where in {
        "Airflow": f"http://{HOST}:{ports.airflow}  (user admin, password {password})",
        "MLflow": f"http://{HOST}:{ports.mlflow}  (user {MLFLOW_USER}, password {mlflow_password})",
        "kubectl": f"export KUBECONFIG={platform.kubeconfig}",
    }.items():
        console.print(f"{what:<8} {where}", highlight=False, soft_wrap=True)


def tree_memory(pid: int) -> int:
    """Bytes of a process and all its descendants, shared pages counted once (PSS); 0 when it is gone."""
    if not pid:
        return 0
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(processes.memory(process) for process in family)


def _verdict(service: Service, state: State) -> str:
    # The supervisor calls a service running only after its first seconds; whether it answers is known before.
    if not state.pid:
        return state.why or "down"
    try:
        service.health()
    except Unhealthy as error:
        return str(error)
    return "ok"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _orphans(left: list[psutil.Process]) -> str:
    return (
        f"the supervisor is gone, and {len(left)} process(es) of the platform run without it: "
        "`make up` puts that right, `make down` ends them"
    )
