"""A Spark session that knows the lake: the same catalog and object store as PyIceberg."""

from urllib.parse import urlsplit

from pyspark.sql import SparkSession

from include.jobs.lake.connections import CATALOG_NAME, Connections


def lake_session(connections: Connections) -> SparkSession:
    """Start (or get) the session. Master, memory and application name are spark-submit's business.

    Credentials are set here, from their files, so that they show neither in arguments nor in `ps`.
    """
    catalog = f"spark.sql.catalog.{CATALOG_NAME}"
    settings = {
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        # Times are computed in UTC and turned to the shop's time zone by name, never by the machine's.
        "spark.sql.session.timeZone": "UTC",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # The data of one shop: the default of 200 makes more files and tasks than rows are worth.
        "spark.sql.shuffle.partitions": "8",
        catalog: "org.apache.iceberg.spark.SparkCatalog",
        f"{catalog}.type": "jdbc",
        f"{catalog}.uri": _jdbc_uri(connections.catalog_uri),
        f"{catalog}.jdbc.user": connections.catalog_user,
        f"{catalog}.jdbc.password": connections.catalog_password,
        # The layout that PyIceberg's SqlCatalog writes.
        f"{catalog}.jdbc.schema-version": "V1",
        # What is kept would be out of date beside other writers.
        f"{catalog}.cache-enabled": "false",
        f"{catalog}.warehouse": connections.warehouse,
        f"{catalog}.io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        f"{catalog}.client.region": connections.s3_region,
        f"{catalog}.s3.endpoint": connections.s3_endpoint_url,
        f"{catalog}.s3.path-style-access": "true",
        f"{catalog}.s3.access-key-id": connections.access_key_id,
        f"{catalog}.s3.secret-access-key": connections.secret_access_key,
    }
    builder = SparkSession.builder
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("WARN")
    return session


def _jdbc_uri(catalog_uri: str) -> str:
    parts = urlsplit(catalog_uri)
    return f"jdbc:postgresql://{parts.netloc}{parts.path}"
