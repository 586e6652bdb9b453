"""The lake's bucket, as Airflow uses it: one small object for each try of a task, and addresses of pages."""

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from include.config import Settings

CONNECT_S: Final = 2
READ_S: Final = 5
#: The longest that S3 allows: a week.
SIGNED_S: Final = 7 * 24 * 3600
CONFLICT: Final = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


def store(prefix: str, name: str, text: str, environment: "Settings") -> bool:
    """Write the object `<prefix><name>.json` into the lake's bucket, unless it is there already.

    :returns: whether it was written.
    :raises botocore.exceptions.BotoCoreError: the bucket cannot be reached.
    :raises botocore.exceptions.ClientError: it refuses.
    :raises AirflowNotFoundException: there is no connection to the lake.
    """
    from botocore.exceptions import ClientError

    try:
        _client(environment).put_object(
            Bucket=urlsplit(environment.reach.lake_warehouse).netloc,
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


def signed(uri: str, environment: "Settings") -> str:
    """The address of a page (`s3://bucket/key`) for a browser, for `SIGNED_S`.

    :raises AirflowNotFoundException: there is no connection to the lake.
    """
    place = urlsplit(uri)
    named = {"Bucket": place.netloc, "Key": place.path.lstrip("/"), "ResponseContentType": "text/html; charset=utf-8"}
    address: str = _client(environment).generate_presigned_url("get_object", Params=named, ExpiresIn=SIGNED_S)
    return address


def _client(environment: "Settings") -> Any:
    import boto3
    from airflow.sdk import BaseHook
    from botocore.config import Config

    reach, connection = environment.reach, BaseHook.get_connection(environment.airflow.lake_connection_id)
    return boto3.client(
        "s3",
        endpoint_url=connection.extra_dejson.get("endpoint_url") or reach.s3_endpoint_url,
        region_name=reach.s3_region,
        aws_access_key_id=connection.login,
        aws_secret_access_key=connection.password,
        config=Config(
            connect_timeout=CONNECT_S,
            read_timeout=READ_S,
            retries={"total_max_attempts": 2},
            signature_version="s3v4",
        ),
    )
