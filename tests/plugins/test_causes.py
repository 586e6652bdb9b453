"""The first line of an alarm is the cause, with the host: found in the ends of real logs."""

import pytest
from podium.causes import cause, host
from podium.failures import explain_pod

SPARK = """26/11/30 20:00:01 INFO SparkContext: Running Spark version 4.1.1
26/11/30 20:00:09 ERROR Executor: Exception in task 3.0 in stage 1.0 (TID 7)
Traceback (most recent call last):
  File "/app/include/jobs/features/__main__.py", line 20, in <module>
    main()
  File "/app/include/jobs/features/main.py", line 88, in write
    frame.writeTo(table).overwritePartitions()
py4j.protocol.Py4JJavaError: An error occurred while calling o92.overwritePartitions.
: org.apache.spark.SparkException: Writing job failed
\tat org.apache.spark.sql.errors.QueryExecutionErrors$.writingJobFailedError(QueryExecutionErrors.scala:916)
\tat java.base/java.lang.Thread.run(Thread.java:840)
Caused by: software.amazon.awssdk.core.exception.SdkClientException: Unable to execute HTTP request: \
Connect to 127.0.0.1:26333 [/127.0.0.1] failed: Connection refused
\tat software.amazon.awssdk.core.exception.SdkClientException$BuilderImpl.build(SdkClientException.java:130)
\t... 23 more
Caused by: java.net.ConnectException: Connection refused
\tat java.base/sun.nio.ch.Net.connect0(Native Method)
\tat java.base/sun.nio.ch.Net.connect(Net.java:589)
\t... 61 more
26/11/30 20:00:10 INFO ShutdownHookManager: Shutdown hook called"""

BOTO = """Traceback (most recent call last):
  File "/x/urllib3/connection.py", line 204, in _new_conn
    sock = connection.create_connection(
ConnectionRefusedError: [Errno 111] Connection refused

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/x/botocore/httpsession.py", line 464, in send
urllib3.exceptions.NewConnectionError: AWSHTTPConnection(host='127.0.0.1', port=26333): Failed to establish a connection

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/app/include/jobs/ingest/__main__.py", line 5, in <module>
botocore.exceptions.EndpointConnectionError: Could not connect to the endpoint URL: "http://127.0.0.1:26333/lake/x"
"""

KAFKA = """%3|1764532800.123|FAIL|rdkafka#consumer-1| [thrd:broker-1:9092/bootstrap]: broker-1:9092/bootstrap: \
Connect to ipv4#10.0.0.7:9092 failed: Connection refused (after 0ms in state CONNECT)
Traceback (most recent call last):
  File "/app/include/jobs/ingest/__main__.py", line 5, in <module>
cimpl.KafkaException: KafkaError{code=_TRANSPORT,val=-195,str="Failed to get metadata: Local: Broker transport failure"}
"""

POSTGRES = """psycopg.OperationalError: connection failed: connection to server at "10.0.0.9", port 5432 failed: \
Connection refused
\tIs the server running on that host and accepting TCP/IP connections?"""

HANDLED = """Traceback (most recent call last):
  File "a.py", line 1, in <module>
KeyError: 'x'
going on without x
Traceback (most recent call last):
  File "a.py", line 9, in <module>
ValueError: no rows in 2017-03-01"""


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (SPARK, "java.net.ConnectException: Connection refused (127.0.0.1:26333)"),
        (BOTO, "ConnectionRefusedError: [Errno 111] Connection refused (127.0.0.1:26333)"),
        (KAFKA, "cimpl.KafkaException: KafkaError{code=_TRANSPORT,val=-195,str=\"Failed to get metadata: "
                "Local: Broker transport failure\"} (broker-1:9092)"),
        (HANDLED, "ValueError: no rows in 2017-03-01"),
        ("Exception in thread \"main\" java.lang.IllegalStateException: no session\n\tat a.B.c(B.java:1)",
         "java.lang.IllegalStateException: no session"),
        ("x ERROR no such table t\nx INFO bye", "x ERROR no such table t"),
        ("reading\n7 of 10 records are broken\n\n", "7 of 10 records are broken"),
        ("", ""),
        ("\tat a.B.c(B.java:1)\n\t... 3 more", ""),
    ],
    ids=["spark", "boto", "kafka", "handled", "java", "levels", "plain", "nothing", "frames"],
)  # fmt: skip
def test_the_deepest_cause_is_found(log: str, expected: str) -> None:
    assert cause(log.split("\n")) == expected


def test_an_error_that_names_its_host_is_as_it_is() -> None:
    found = cause(POSTGRES.split("\n"))
    assert found.startswith("psycopg.OperationalError")
    assert host(found) == "10.0.0.9:5432"
    assert not found.endswith(")")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("https://user:secret@s3.example.com:9000/lake", "s3.example.com:9000"),
        ("HTTPConnectionPool(host='mlflow', port=5000): Max retries exceeded", "mlflow:5000"),
        ("dial tcp: lookup mlflow.podium.svc on 10.96.0.10:53: no such host", "mlflow.podium.svc"),
        ("UnknownHostException: for broker-0.kafka.svc", "broker-0.kafka.svc"),
        ('File "a.py:12"', ""),
        ("at 12:30:01 it ended", ""),
    ],
)
def test_hosts(text: str, found: str) -> None:
    assert host(text) == found


def test_the_alarm_shows_no_frames_but_the_cause() -> None:
    status = {"phase": "Failed", "containerStatuses": [{"name": "d", "state": {"terminated": {"exitCode": 1}}}]}
    pod = {"metadata": {"name": "driver", "namespace": "podium"}, "spec": {}, "status": status}
    text = explain_pod(pod, "d", [], SPARK.split("\n"))
    assert text.splitlines()[0] == "java.net.ConnectException: Connection refused (127.0.0.1:26333)"
    assert "\tat " not in text
    assert "SdkClientException" in text
