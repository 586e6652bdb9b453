"""The launcher: `python -m include.stack up|down|status|setup|demo|airflow|audit|job|test|soak|lint|…`, for `make`."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from rich.console import Console

from include.config import ConfigError, load_settings
from include.stack import down, lint, locks, status, testing, up
from include.stack.credentials import load
from include.stack.errors import StackError
from include.stack.jars import Jars
from include.stack.job import run_in_pod, run_job
from include.stack.paths import CHECKOUT, Paths
from include.stack.ports import HOST
from include.stack.service import Platform
from include.stack.services import airflow
from include.stack.supervisor import Supervisor
from include.stack.venvs import Venv

EXIT_UNHEALTHY = 3
EXIT_INTERRUPTED = 130
LAUNCHED = time.time()


def main() -> None:
    """Run a command; problems that a person can mend are told in words, without a traceback."""
    arguments = parse(sys.argv[1:])
    console = Console(highlight=False)
    if not console.is_terminal:  # a log has no right margin
        console = Console(highlight=False, width=160)
    # SIGINT too, because a shell that starts a command in the background has it ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        sys.exit(COMMANDS[arguments.command](arguments, console))
    except KeyboardInterrupt:
        console.print("interrupted; what this command started is ended")
        sys.exit(EXIT_INTERRUPTED)
    except (StackError, ConfigError) as error:
        Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(f"podium: {error}")
        sys.exit(1)
    except OSError as error:
        where = error.filename or Paths.from_environment().home
        Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(
            f"podium: {where}: {error.strerror or error}. Free or mend the disk or its permissions, then run it again"
        )
        sys.exit(1)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command and what belongs to it.

    >>> parse(["test", "-k", "name"]).arguments
    ['-k', 'name']
    """
    command, further = arguments[:1], arguments[1:]
    if command and command[0] in FORWARDING and further[:1] not in (["-h"], ["--help"]):
        # argparse takes an option that comes first for one of its own.
        return argparse.Namespace(command=command[0], arguments=further)
    return _parser().parse_args(arguments)


def _up(arguments: argparse.Namespace, console: Console) -> int:
    platform = _platform()
    up.up(platform, console, arguments.only)
    console.print(f"the platform is up after {_since_began():.0f} s")
    status.addresses(platform, console)
    return 0


def _down(_: argparse.Namespace, console: Console) -> int:
    down.down(Paths.from_environment(), console)
    return 0


def _status(_: argparse.Namespace, console: Console) -> int:
    return 0 if status.status(_platform(), console) else EXIT_UNHEALTHY


def _setup(_: argparse.Namespace, console: Console) -> int:
    platform = _platform()
    up.build(platform, platform.environments.platform(), console)
    console.print(f"everything is built, after {_since_began():.0f} s")
    return 0


def _demo(arguments: argparse.Namespace, console: Console) -> int:
    platform = _platform()
    ran = Supervisor(platform).alive()
    up.up(platform, console)
    setup_s = _since_began()
    console.print(f"the platform is up after {setup_s:.0f} s")
    # The demonstration brings plotting along, which the other commands need not wait for, and which keeps its fonts.
    os.environ.setdefault("MPLCONFIGDIR", str(platform.paths.cache / "matplotlib"))
    from include.demo.run import Access, DemoError, Options, run

    access = Access(
        kubeconfig=platform.kubeconfig,
        airflow_url=f"http://{HOST}:{platform.ports.airflow}",
        airflow_user="admin",
        airflow_password=platform.credentials.airflow_admin_password.get_secret_value(),
        serving_header=platform.paths.serving_header,
        setup_s=setup_s,
    )
    options = Options(arguments.months, arguments.households, arguments.broken, arguments.requests_per_second)
    try:
        run(platform.settings, platform.paths.home, access, arguments.output, options)
    except DemoError as error:
        raise StackError(
            f"{error}\nThe platform is still up, so that you can look at it; `make down` ends it"
        ) from error
    except KeyboardInterrupt:
        if not ran:
            down.undo(platform.paths, console)
        raise
    return 0


def _airflow(arguments: argparse.Namespace, _: Console) -> int:
    """Become Airflow's command line, with the platform's settings and credentials in its environment."""
    platform = _platform()
    program = platform.environments.airflow.bin / "airflow"
    if not program.exists():
        raise StackError("Airflow is not installed yet: `make up` first")
    environment = platform.base_environment() | airflow.environment(platform)
    os.execve(program, ["airflow", *arguments.arguments], environment)


def _audit(arguments: argparse.Namespace, _: Console) -> int:
    head = ["--head", arguments.head] if arguments.head else []
    return run_job(_platform(), "upkeep", ["-m", "include.jobs.upkeep", "verify", *head])


def _erase(_: argparse.Namespace, __: Console) -> int:
    return run_job(_platform(), "upkeep", ["-m", "include.jobs.upkeep", "request"])


def _job(arguments: argparse.Namespace, console: Console) -> int:
    return run_in_pod(_platform(), arguments.arguments, console)


def _bench(arguments: argparse.Namespace, console: Console) -> int:
    platform = _platform()
    up.build(platform, [*platform.environments.platform(), platform.environments.benchmarks], console)
    os.execv(sys.executable, [sys.executable, "-m", "benchmarks", *arguments.arguments])


def _lint(_: argparse.Namespace, console: Console) -> int:
    platform = _platform()
    up.build(platform, [platform.environments.tests], console)
    return 0 if lint.lint(platform.paths.checkout, platform.environments.tests, console) else 1


def _test(arguments: argparse.Namespace, console: Console) -> int:
    platform = _platform()
    environments = platform.environments
    picked, options = testing.select(testing.suites(environments), arguments.arguments)
    jars = (environments.kafka_jars, environments.spark_jars)
    parts: dict[Path, Venv | Jars] = {
        part.path: part for suite, _ in picked for part in (suite.venv, suite.overlay, *jars) if part
    }
    if any(suite.name == "tests/pipeline" for suite, _ in picked):
        parts |= {part.path: part for part in environments.platform()}
    linted = True
    if not arguments.arguments:
        linted = _lint(arguments, console) == 0
    up.build(platform, parts.values(), console)
    return 0 if testing.run(environments, picked, options, console) and linted else 1


def _soak(arguments: argparse.Namespace, console: Console) -> int:
    arguments.arguments = [*testing.SOAK, *arguments.arguments]
    return _test(arguments, console)


def _lock(_: argparse.Namespace, console: Console) -> int:
    platform = _platform()
    uv = platform.environments.launcher.bin / "uv"
    log = platform.paths.logs / "setup" / "lock.log"
    for path in locks.renew(platform.paths.checkout, uv, platform.paths.cache, log):
        console.print(f"written: {path}")
    return 0


def _platform() -> Platform:
    paths = Paths.from_environment()
    settings = load_settings()
    return Platform(settings, paths, load(paths.credentials))


def _since_began() -> float:
    """Seconds since `make` was called."""
    return time.time() - float(os.environ.get("SETUP_BEGAN", LAUNCHED))


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m include.stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("setup", help="build every environment, fetch the jars")
    start = commands.add_parser("up", help="start the platform")
    start.add_argument("--only", nargs="+", default=(), metavar="SERVICE", help="these services alone")
    commands.add_parser("down", help="stop the platform, and every pod")
    commands.add_parser("status", help="show every service, its health and memory")
    demo = commands.add_parser("demo", help="start the platform and run the whole pipeline on it")
    demo.add_argument("--months", type=int, default=12, help="how many months of 2017 (default: all 12)")
    demo.add_argument("--households", type=int, help="how many households (default: all)")
    demo.add_argument("--broken", type=int, default=1000, help="broken records among the events (default: 1000)")
    demo.add_argument("--requests-per-second", type=int, default=40, help="while a model rolls out (default: 40)")
    demo.add_argument("--output", type=Path, default=CHECKOUT / "build" / "demo", help="where the report goes")
    bench = commands.add_parser("bench", help="benchmarks: ratios measured in one run")
    bench.add_argument("arguments", nargs=argparse.REMAINDER, help="names of some of them, see --help")
    command = commands.add_parser("airflow", help="Airflow's own command line, on this platform")
    command.add_argument("arguments", nargs=argparse.REMAINDER, help="as `airflow` has them")
    job = commands.add_parser("job", help="a command of a job, in a pod of its image: ingest discard ..., see --help")
    job.add_argument("arguments", nargs=argparse.REMAINDER, help="job, command, options; `ingest --help` lists them")
    audit = commands.add_parser("audit", help="verify the audit trail's chain of hashes")
    commands.add_parser("erase", help="leave the request to erase a household, whose id is on standard input")
    audit.add_argument("--head", help="<number>:<hash> that was noted before: hold the trail to it")
    commands.add_parser("lint", help="style, types, import rules, fresh locks")
    test = commands.add_parser("test", help="lint, then every test suite; or those named, with pytest's options")
    test.add_argument("arguments", nargs=argparse.REMAINDER, help="paths below tests/, options of pytest")
    soak = commands.add_parser("soak", help="the tests that take hours; every cell of the kill matrix, ten times")
    soak.add_argument("arguments", nargs=argparse.REMAINDER, help="-k to select, --repetitions, --at-once")
    commands.add_parser("lock", help="renew the lock files whose requirements have changed")
    return parser


# What comes after these belongs to another program.
FORWARDING = frozenset({"airflow", "job", "test", "soak"})
Command = Callable[[argparse.Namespace, Console], int]
COMMANDS: dict[str, Command] = {
    "up": _up,
    "down": _down,
    "status": _status,
    "setup": _setup,
    "demo": _demo,
    "airflow": _airflow,
    "audit": _audit,
    "erase": _erase,
    "job": _job,
    "bench": _bench,
    "lint": _lint,
    "test": _test,
    "soak": _soak,
    "lock": _lock,
}

if __name__ == "__main__":
    main()
