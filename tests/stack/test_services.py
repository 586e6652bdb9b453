"""The services that other suites rely on are real and answer."""

import boto3
import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from tests.services import Services


def test_the_broker_lists_its_topics(kafka: str) -> None:
    assert AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=10).brokers


def test_the_buckets_are_there_and_keep_what_is_put(services: Services, s3: str) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=s3,
        region_name="us-east-1",
        aws_access_key_id=services.credentials["s3_access_key"],
        aws_secret_access_key=services.credentials["s3_secret_key"],
    )
    assert {bucket["Name"] for bucket in client.list_buckets()["Buckets"]} == {"lake", "mlflow"}
    client.put_object(Bucket="lake", Key="probe", Body=b"kept")
    assert client.get_object(Bucket="lake", Key="probe")["Body"].read() == b"kept"


def test_the_catalog_opens_with_its_own_log_in_alone(services: Services, postgres: str) -> None:
    with psycopg.connect(postgres) as connection:
        assert connection.execute("SELECT current_user, current_database()").fetchone() == ("lake", "lake")
    wrong = postgres.replace(services.credentials["lake_database_password"], "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)
