"""The process supervisor (supervisord): its configuration, its start, its remote interface, its end.

Services are started and stopped one by one through the remote interface, because supervisord knows no dependencies
beyond an order; once running, it restarts what dies.
"""

import contextlib
import hashlib
import shlex
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from include.stack import processes
from include.stack.errors import ServiceError
from include.stack.files import write_private
from include.stack.orphans import SERVICE
from include.stack.ports import HOST
from include.stack.service import Platform, Service

USER = "podium"
START_TIMEOUT_S = 20.0
POLL_S = 0.1
LOG_BYTES = "20MB"
# A service that dies again at once is tried again after 1, 2, 3... seconds, this many times.
RETRIES = 10
_NO_SUCH_PROCESS = 10
_NOT_RUNNING = 70
_ALREADY_STARTED = 60


@dataclass(frozen=True)
class State:
    """What the supervisor says about a service.

    :param name: of the service.
    :param state: RUNNING, STARTING, BACKOFF, STOPPING, STOPPED, EXITED or FATAL.
    :param pid: 0 when there is no process.
    :param uptime_s: seconds since its start.
    :param why: how the last start went wrong, if it did.
    """

    name: str
    state: str
    pid: int
    uptime_s: float
    why: str

    @property
    def running(self) -> bool:
        """Whether there is a process that counts as started."""
        return self.state == "RUNNING"


class Supervisor:
    """The supervisor of one platform."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._password = platform.credentials.supervisor_password.get_secret_value()
        self._port = platform.ports.supervisor

    @property
    def _api(self) -> xmlrpc.client.ServerProxy:
        # A proxy is one connection and no thread may share it.
        address = f"http://{USER}:{self._password}@{HOST}:{self._port}/RPC2"
        return xmlrpc.client.ServerProxy(address, transport=_Transport())

    @property
    def config(self) -> Path:
        """Its configuration file."""
        return self._platform.paths.run / "supervisord.conf"

    def alive(self) -> bool:
        """Whether it answers, and is this platform's."""
        try:
            return bool(self._api.supervisor.getIdentification() == self._identity)
        except (OSError, xmlrpc.client.Error, HTTPException):
            return False

    @property
    def _identity(self) -> str:
        return f"podium-{hashlib.sha256(str(self._platform.paths.home).encode()).hexdigest()[:16]}"

    def states(self) -> dict[str, State]:
        """The state of every service; empty when the supervisor is not there."""
        try:
            infos: Any = self._api.supervisor.getAllProcessInfo()
        except (OSError, xmlrpc.client.Error, HTTPException):
            return {}
        return {
            info["name"]: State(
                name=info["name"],
                state=info["statename"],
                pid=info["pid"],
                uptime_s=float(info["now"] - info["start"]) if info["pid"] else 0.0,
                why=info["spawnerr"],
            )
            for info in infos
        }

    def write(self, services: Iterable[Service]) -> set[str]:
        """Write the configuration and the services' start scripts.

        :return: names of the services whose script has changed; `supervisord` itself among them when its has.
        """
        services = list(services)
        changed = {one.name for one in services if write_private(self._script(one.name), self._script_text(one))}
        if write_private(self.config, self._config_text(services)):
            changed.add("supervisord")
        return changed

    def launch(self) -> None:
        """Start the supervisor, without any service.

        :raises ServiceError: it does not come up.
        """
        log = self._platform.paths.logs / "supervisord.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "supervisor.supervisord", "--nodaemon", "-c", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self._platform.base_environment(),
                # Its configuration names files relative to it: a path may hold what it would take for syntax.
                cwd=self._platform.paths.home,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.alive():
            if process.poll() is not None or time.monotonic() > deadline:
                tail = "\n    ".join(log.read_text(errors="replace").splitlines()[-10:])
                raise ServiceError(f"the process supervisor does not come up. The end of {log}:\n    {tail}")
            time.sleep(POLL_S)

    def start(self, name: str) -> None:
        """Start one service; one that runs is left alone."""
        try:
            self._api.supervisor.startProcess(name, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != _ALREADY_STARTED:
                raise ServiceError(f"{name} cannot be started: {fault.faultString}") from fault

    def stop(self, names: Iterable[str]) -> None:
        """Stop services, all at once, and wait until they are gone. Those that do not run are left alone."""
        names = list(names)
        for name in names:
            try:
                self._api.supervisor.stopProcess(name, False)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode not in (_NOT_RUNNING, _NO_SUCH_PROCESS):
                    raise ServiceError(f"{name} cannot be stopped: {fault.faultString}") from fault
        while any(self.states().get(name, _GONE).pid for name in names):
            time.sleep(POLL_S)

    def end(self) -> None:
        """Stop the supervisor and all that it runs, and then whatever else of this platform is left."""
        if self.alive():
            with contextlib.suppress(OSError, xmlrpc.client.Error, HTTPException):
                self._api.supervisor.shutdown()
        processes.end_all(self._platform.paths.home, patience_s=30.0, asked=True)

    def _script(self, name: str) -> Path:
        return self._platform.paths.run / f"{name}.sh"

    def _script_text(self, service: Service) -> str:
        checkout, home = self._platform.paths.checkout, self._platform.paths.home
        environment = self._platform.base_environment() | dict(service.environment) | {SERVICE: service.name}
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(environment.items()))
        tidy = (sys.executable, "-I", "-S", str(checkout / "include" / "stack" / "orphans.py"), str(home), service.name)
        return (
            f"#!/bin/sh\n# Written by `make up`: how the supervisor starts {service.name}.\n"
            f"cd {shlex.quote(str(service.directory or checkout))} || exit 1\n"
            f"{shlex.join(tidy)} || exit 1\n"
            f"{exports}exec {shlex.join(service.command)}\n"
        )

    def _config_text(self, services: list[Service]) -> str:
        sections = [
            f"""[supervisord]
identifier={self._identity}
logfile=/dev/null
logfile_maxbytes=0
pidfile=run/supervisord.pid
childlogdir=logs
nocleanup=true

[inet_http_server]
port={HOST}:{self._port}
username={USER}
password={self._password}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
        ]
        sections += [self._program_text(service) for service in services]
        return "\n".join(sections)

    def _program_text(self, service: Service) -> str:
        # The server ends its own children in good order; killing all of its group is for when it does not.
        as_group = "false" if service.stop_signal == "INT" else "true"
        return f"""[program:{service.name}]
command=/bin/sh run/{service.name}.sh
autostart=false
autorestart=true
startsecs=2
startretries={RETRIES}
stopsignal={service.stop_signal}
stopwaitsecs={int(service.stop_timeout_s)}
stopasgroup={as_group}
killasgroup=true
redirect_stderr=true
stdout_logfile=logs/{service.name}.log
stdout_logfile_maxbytes={LOG_BYTES}
stdout_logfile_backups=2
"""


_GONE = State("", "STOPPED", 0, 0.0, "")


class _Transport(xmlrpc.client.Transport):
    """A supervisor that hangs must not hang its clients."""

    def make_connection(self, host: "xmlrpc.client._HostType"):  # type: ignore[no-untyped-def]
        connection = super().make_connection(host)
        connection.timeout = 10.0
        return connection
