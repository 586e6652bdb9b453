"""What the features image starts with: `driver ARGUMENTS...` and `executor`, as Spark on Kubernetes asks for them.

Anything else is a command. Spark's own image has such a script, but another Python than the one that the lock is for.
The variables are those that Spark puts into its pods (org.apache.spark.deploy.k8s.features).
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

OPTION: Final = "SPARK_JAVA_OPT_"
BACKEND: Final = "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"
# What the backend is told, and the variable that holds it.
TOLD: Final = {
    "--driver-url": "SPARK_DRIVER_URL",
    "--executor-id": "SPARK_EXECUTOR_ID",
    "--cores": "SPARK_EXECUTOR_CORES",
    "--app-id": "SPARK_APPLICATION_ID",
    "--hostname": "SPARK_EXECUTOR_POD_IP",
    "--resourceProfileId": "SPARK_RESOURCE_PROFILE_ID",
    "--podName": "SPARK_EXECUTOR_POD_NAME",
}


def command(arguments: Sequence[str], environment: Mapping[str, str], spark_home: Path) -> list[str]:
    """The command that a container runs.

    :param arguments: the container's arguments.
    :param environment: the container's.
    :param spark_home: where Spark is.
    :raises KeyError: Spark has not set a variable that it promises.
    """
    match list(arguments):
        case ["driver", *further]:
            address = environment["SPARK_DRIVER_BIND_ADDRESS"]
            bound = ["--conf", f"spark.driver.bindAddress={address}"]
            known = ["--conf", f"spark.executorEnv.SPARK_DRIVER_POD_IP={address}"]
            return [str(spark_home / "bin" / "spark-submit"), "--deploy-mode", "client", *bound, *known, *further]
        case ["executor", *_]:
            return [*_java(environment, spark_home), BACKEND, *_told(environment)]
        case further:
            return further


def _java(environment: Mapping[str, str], spark_home: Path) -> list[str]:
    numbered = {int(key.removeprefix(OPTION)): value for key, value in environment.items() if key.startswith(OPTION)}
    memory = environment["SPARK_EXECUTOR_MEMORY"]
    paths = [environment.get("SPARK_CLASSPATH", ""), environment.get("SPARK_CONF_DIR", ""), f"{spark_home}/jars/*"]
    return [
        str(Path(environment["JAVA_HOME"]) / "bin" / "java"),
        *(option for _, option in sorted(numbered.items())),
        *(f"-Xms{memory}", f"-Xmx{memory}"),
        *("-cp", os.pathsep.join(path for path in paths if path)),
    ]


def _told(environment: Mapping[str, str]) -> list[str]:
    return [word for option, variable in TOLD.items() for word in (option, environment[variable])]


def main() -> None:
    """Become the command."""
    import pyspark

    home = Path(pyspark.__file__).parent
    words = command(sys.argv[1:], os.environ, home)
    os.execvpe(words[0], words, {**os.environ, "SPARK_HOME": str(home)})


if __name__ == "__main__":
    main()
