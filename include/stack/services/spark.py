"""What Spark finds in its images' environments: a Java, and a configuration that puts the jars on the class path."""

from pathlib import Path

from include.stack.service import Platform

#: The images with Spark in them.
IMAGES = frozenset({"features", "upkeep"})
CONFIG = "spark-conf"
CONFIG_IN_IMAGE = "/opt/spark/conf"


def prepare(platform: Platform) -> None:
    """Write Spark's configuration folder."""
    folder = platform.paths.run / CONFIG
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spark-defaults.conf").write_text(f"# Written by `make up`.\n{defaults(platform)}")


def defaults(platform: Platform) -> str:
    """The content of `spark-defaults.conf`."""
    jars = platform.environments.spark_jars.path
    # Its ports take what they are sent for objects of Java's, so only who knows the driver's own secret gets in.
    own = "spark.ui.enabled false\nspark.authenticate true\n"
    return f"spark.driver.extraClassPath {jars}/*\nspark.executor.extraClassPath {jars}/*\n{own}"


def environment(platform: Platform) -> dict[str, str]:
    """The environment of a Spark driver."""
    return {"JAVA_HOME": str(platform.java.home), "SPARK_CONF_DIR": CONFIG_IN_IMAGE}


def mounts(platform: Platform) -> dict[str, Path]:
    """What such an image has beside its environment."""
    return {CONFIG_IN_IMAGE: platform.paths.run / CONFIG}
