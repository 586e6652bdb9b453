"""Running a command of a job: in a pod of its image, or on this machine for a question to the running platform."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
from rich.console import Console

from include.demo.airflow_api import FINISHED, AirflowApi, AirflowApiError
from include.stack.errors import StackError
from include.stack.ports import HOST
from include.stack.service import Platform
from include.stack.services.devcluster import secrets_of

DAG_ID = "run_job"
POLL_S = 1.0


def run_job(platform: Platform, image: str, arguments: Sequence[str]) -> int:
    """Run `python ARGUMENTS` in the environment of an image; the exit code.

    Credentials are files that only this user can read, and are gone afterwards.

    :raises StackError: the environment was not made yet.
    """
    python = platform.environments.images[image].python
    if not python.exists():
        raise StackError(f"the environment of {image} is not there yet: `make up` first")
    with tempfile.TemporaryDirectory(prefix="podium-credentials-") as folder:
        for name, value in secrets_of(platform).items():
            path = Path(folder) / name
            path.touch(mode=0o600)
            path.write_text(value)
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "TERM") if name in os.environ},
            **platform.settings.platform_environment(),
            "PODIUM_CREDENTIALS_DIR": folder,
            "PYTHONPATH": str(platform.paths.checkout),
        }
        return subprocess.run(
            [python, *arguments], env=environment, cwd=platform.paths.checkout, check=False
        ).returncode


def run_in_pod(platform: Platform, asked: Sequence[str], console: Console) -> int:
    """Run a command of a job by the DAG `run_job`, show its log and its result; 0 when it has succeeded.

    :param asked: the job, the command and its options.
    :raises StackError: no job is named, Airflow does not answer, or it refuses the arguments.
    """
    if not asked:
        raise StackError('name the job and its command: make job ARGS="ingest --help"')
    job, *arguments = asked
    url = f"http://{HOST}:{platform.ports.airflow}"
    password = platform.credentials.airflow_admin_password.get_secret_value()
    try:
        with AirflowApi(url, "admin", password) as airflow:
            return _follow(airflow, job, arguments, url, console)
    except (AirflowApiError, httpx.HTTPError) as error:
        raise StackError(f"{error}. Is the platform up? `make status` tells, `make up` starts it") from error


def _follow(airflow: AirflowApi, job: str, arguments: Sequence[str], url: str, console: Console) -> int:
    airflow.unpause(DAG_ID)
    run_id = airflow.trigger(DAG_ID, {"job": job, "arguments": list(arguments)})
    console.print(f"{DAG_ID} {run_id}: {url}/dags/{DAG_ID}/runs/{run_id}", markup=False, soft_wrap=True)
    shown = 0
    while True:
        run = airflow.run(DAG_ID, run_id)
        (task,) = [task for task in airflow.tasks(run) if task.task_id == job]
        lines = airflow.log(task) if task.start else []
        # The log of a second try begins anew.
        shown = 0 if len(lines) < shown else shown
        for line in lines[shown:]:
            console.print(line, markup=False, soft_wrap=True)
        shown = len(lines)
        if run.state in FINISHED:
            break
        time.sleep(POLL_S)
    if run.state != "success":
        console.print(f"{job} {' '.join(arguments)} failed", markup=False, soft_wrap=True)
        return 1
    console.print_json(json.dumps(airflow.result(run, job)))
    return 0
