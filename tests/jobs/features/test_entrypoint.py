"""What the image becomes: a driver, an executor, or any other command."""

from pathlib import Path

import pytest

from include.jobs.features.entrypoint import command

HOME = Path("/opt/spark")
EXECUTOR = {
    "JAVA_HOME": "/opt/java",
    "SPARK_JAVA_OPT_10": "-Dtenth=with a space",
    "SPARK_JAVA_OPT_2": "-Dsecond",
    "SPARK_EXECUTOR_MEMORY": "2g",
    "SPARK_CONF_DIR": "/opt/spark/conf",
    "SPARK_DRIVER_URL": "spark://CoarseGrainedScheduler@driver:7078",
    "SPARK_EXECUTOR_ID": "1",
    "SPARK_EXECUTOR_CORES": "2",
    "SPARK_APPLICATION_ID": "spark-1",
    "SPARK_EXECUTOR_POD_IP": "10.0.0.7",
    "SPARK_RESOURCE_PROFILE_ID": "0",
    "SPARK_EXECUTOR_POD_NAME": "app-exec-1",
}


def test_a_driver_submits_to_itself() -> None:
    words = command(["driver", "--class", "C", "local:///app/main.py"], {"SPARK_DRIVER_BIND_ADDRESS": "10.0.0.6"}, HOME)
    assert words[:3] == ["/opt/spark/bin/spark-submit", "--deploy-mode", "client"]
    assert "spark.driver.bindAddress=10.0.0.6" in words
    assert words[-3:] == ["--class", "C", "local:///app/main.py"]


def test_an_executor_is_a_java_with_its_options_in_order() -> None:
    words = command(["executor"], EXECUTOR, HOME)
    assert words[:5] == ["/opt/java/bin/java", "-Dsecond", "-Dtenth=with a space", "-Xms2g", "-Xmx2g"]
    assert words[words.index("-cp") + 1] == "/opt/spark/conf:/opt/spark/jars/*"
    assert words[words.index("--driver-url") + 1] == "spark://CoarseGrainedScheduler@driver:7078"
    assert words[words.index("--hostname") + 1] == "10.0.0.7"
    assert words[words.index("--cores") + 1] == "2"


def test_an_executor_without_its_variables_says_which() -> None:
    with pytest.raises(KeyError, match="SPARK_DRIVER_URL"):
        command(["executor"], {key: value for key, value in EXECUTOR.items() if key != "SPARK_DRIVER_URL"}, HOME)


def test_anything_else_is_a_command() -> None:
    assert command(["python", "-V"], {}, HOME) == ["python", "-V"]
