"""Records in the lake's bucket: one small object for each try of a task, written by whoever reports its end first."""

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from include.config import Settings

CONNECT_S: Final = 2
READ_S: Final = 5
CONFLICT: Final = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


def store(prefix: str, name: str, text: str, environment: "Settings") -> bool:
    """Write the object `<prefix><name>.json` into the lake's bucket, unless it is there already.

    :returns: whether it was written.
    :raises botocore.exceptions.BotoCoreError: the bucket cannot be reached.
    :raises botocore.exceptions.ClientError: it refuses.
    :raises AirflowNotFoundException: there is no connection to the lake.
    """
    import boto3
    from airflow.sdk import BaseHook
    from botocore.config import Config
    from botocore.exceptions import ClientError

    reach, connection = environment.reach, BaseHook.get_connection(environment.airflow.lake_connection_id)
    client = boto3.client(
        "s3",
        endpoint_url=connection.extra_dejson.get("endpoint_url") or reach.s3_endpoint_url,
        region_name=reach.s3_region,
        aws_access_key_id=connection.login,
        aws_secret_access_key=connection.password,
        config=Config(connect_timeout=CONNECT_S, read_timeout=READ_S, retries={"total_max_attempts": 2}),
    )
    try:
        client.put_object(
            Bucket=urlsplit(reach.lake_warehouse).netloc,
            Key=f"{prefix}{name}.json",
            Body=text.encode(),
            ContentType="application/json",
            IfNoneMatch="*",
        )
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in CONFLICT:
            return False
        raise
    return True
