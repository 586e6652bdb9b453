"""Takes the platform down, whatever state it is in: afterwards no process of it is left."""

import signal
import subprocess
import sys

from rich.console import Console

from include.config import ConfigError, load_settings
from include.stack import processes
from include.stack.credentials import load
from include.stack.errors import ServiceError, StackError
from include.stack.paths import Paths
from include.stack.service import Platform
from include.stack.services import catalogue, seaweedfs
from include.stack.services.devcluster import NAME as CLUSTER
from include.stack.supervisor import Supervisor

DRAIN_TIMEOUT_S = 60.0


def down(paths: Paths, console: Console, *, quiet: bool = False) -> None:
    """Stop everything, the pods' processes too.

    Works without a supervisor, without readable settings and without credentials: then by the mark that every process
    of the platform carries.

    :raises ServiceError: some process does not end.
    """
    found = bool(processes.of_platform(paths.home))
    if found:
        _stop_in_order(paths, console, quiet)
        processes.end_all(paths.home, patience_s=10.0)
    drained = _drain(paths)
    if not quiet:
        console.print("the platform is down" if found or drained else "the platform was not running")


def undo(paths: Paths, console: Console) -> None:
    """Take down what an interrupted or failed command has started; another Ctrl-C does not stop that."""
    console.print("stopping what was started")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        down(paths, console, quiet=True)
    finally:
        signal.signal(signal.SIGINT, before)


def _stop_in_order(paths: Paths, console: Console, quiet: bool) -> None:
    """Stop the services, those first that use the others. Does nothing when the supervisor is gone."""
    try:
        platform = Platform(load_settings(), paths, load(paths.credentials))
        supervisor = Supervisor(platform)
        if not supervisor.alive():
            return
        services = catalogue.services(platform)
    except (StackError, ConfigError) as error:
        console.print(f"not stopping in order, because: {error}")
        return
    for stage in sorted({service.stage for service in services}, reverse=True):
        names = [service.name for service in services if service.stage == stage]
        if not quiet:
            console.print(f"stopping {', '.join(names)}")
        supervisor.stop(names)
        if CLUSTER in names:
            _drain(paths)
    supervisor.end()
    seaweedfs.remove_sockets(platform)


def _drain(paths: Paths) -> bool:
    """End the processes of all pods. Returns whether there was a dev cluster to drain.

    :raises ServiceError: they do not end.
    """
    if not paths.devcluster_config.is_file():
        return False
    command = [sys.executable, "-m", "include.devcluster", "drain", "--config", str(paths.devcluster_config)]
    try:
        outcome = subprocess.run(
            command, cwd=paths.checkout, capture_output=True, text=True, timeout=DRAIN_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ServiceError(
            f"the pods do not end within {DRAIN_TIMEOUT_S:.0f} s: `{' '.join(command)}` hangs"
        ) from error
    if outcome.returncode:
        raise ServiceError(f"the pods' processes cannot be ended:\n{outcome.stdout}{outcome.stderr}")
    return True
