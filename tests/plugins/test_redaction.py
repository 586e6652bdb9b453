"""Credentials are hidden in what is told of a failure; what identifies data is not."""

import pytest
from podium.redaction import redacted

SECRET = "hunter2"


@pytest.mark.parametrize(
    "text",
    [
        # By their place.
        "cannot reach postgresql://lake:hunter2@db:5432/lake",
        "cannot reach postgresql://lake:p@hunter2@db:5432/lake",
        "redis://:p/hunter2@cache:6379/0",
        "https://hunter2hunter2hunter2hunter2@github.com/podium",
        "Authorization: Bearer hunter2",
        "Authorization: Basic dXNlcjpodW50ZXIyhunter2=",
        "{'Authorization': 'AWS4-HMAC-SHA256 Credential=hunter2/x, Signature=hunter2'}",
        "Basic dXNlcjpodW50ZXIyhunter2==",
        "Cookie: session=hunter2; theme=dark",
        "Set-Cookie: session=hunter2; Path=/",
        "https://b.s3.amazonaws.com/k?X-Amz-Credential=hunter2%2Fs3&X-Amz-Date=1&X-Amz-Signature=hunter2",
        "https://x.blob.core.windows.net/k?sv=2026-01-01&sig=hunter2%3D",
        "https://storage.googleapis.com/b/k?X-Goog-Signature=hunter2",
        "curl -u admin:hunter2 https://x",
        "https://hooks.slack.com/services/T0/B0/hunter2",
        # By their name.
        "PASSWORD=hunter2 was refused",
        "PGPASSWORD=hunter2 psql -h db",
        "REDIS_PASS=hunter2",
        "{'aws_secret_access_key': 'hunter2', 'region': 'us-east-1'}",
        '{"password": "two words hunter2"}',
        '{\\"password\\": \\"hunter2\\"}',
        '{"name": "DB_PASSWORD", "value": "hunter2"}',
        "api-key: hunter2",
        "mysql --password hunter2 -h db",
        "mysql --password=hunter2",
        "['--db-password', 'hunter2', '--verbose']",
        "sasl.password = hunter2",
        'sasl.jaas.config=x.PlainLoginModule required username="u" password="a hunter2";',
        "passphrase: hunter2",
        # By their form.
        "-----BEGIN RSA PRIVATE KEY-----\nhunter2\nhunter2\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nhunter2",
        "  MIIEowIBAAKCAQEAhunter2\n  abc4567890123456hunter2\n  -----END PRIVATE KEY-----",
        "got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.hunter2",
        "xoxb-hunter2hunter2hunter2",
        "ghp_hunter2hunter2hunter2hunter2hunter2",
    ],
)
def test_credentials_are_hidden(text: str) -> None:
    assert SECRET not in redacted(text)


def test_keys_of_aws_are_hidden() -> None:
    assert redacted("AKIAIOSFODNN7EXAMPLE was denied") == "*** was denied"


@pytest.mark.parametrize(
    "text",
    [
        "s3://lake/warehouse: 3 tokens in 2 files, key not found: user_id",
        f"podium/ingest:dev@sha256:{'0a' * 32}",
        "docker://registry:5000/podium/ingest:dev@sha256:0a1b",
        "snapshot 8612345678901234567 of sales.transactions",
        "run scheduled__2026-11-30T00:00:00+00:00 of ingest_transactions",
        "http://127.0.0.1:26333/lake/a?x=b@c",
        'MountVolume.SetUp failed for volume "podium-credentials" : secret "podium-credentials" not found',
        "max_tokens=512",
        "the --password option is required",
        "error: argument --token is required",
        "Basic authentication failed",
        "the bearer token is missing",
        "partition key=user_id",
        "java.net.ConnectException: Connection refused",
        'Failed to pull image "podium/x:dev": not found',
        "passed: 3, failed: 4; bypass: yes",
        "org.apache.spark.SparkException: Job aborted due to stage failure: Task 3 in stage 1.0 failed 4 times",
    ],
)
def test_what_is_no_credential_stays_readable(text: str) -> None:
    assert redacted(text) == text


def test_what_was_hidden_stays_so() -> None:
    once = redacted("postgresql://lake:hunter2@db/lake password=hunter2 --token hunter2")
    assert redacted(once) == once
