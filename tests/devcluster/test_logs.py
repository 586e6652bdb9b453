"""Pod logs."""

from __future__ import annotations

import datetime as dt
import re
import threading
import time

import pytest
from kubernetes import watch

from tests.devcluster.cluster import Cluster, eventually, refused

TEN = "i=1; while [ $i -le 10 ]; do echo line $i; i=$((i+1)); done"


def test_output_and_errors_are_in_the_log(cluster: Cluster, name: str) -> None:
    text = cluster.output(name, "echo to stdout; sleep 0.2; echo to stderr >&2; sleep 0.2; printf 'no newline'")
    assert text == "to stdout\nto stderr\nno newline"


def test_the_tail_of_a_log(cluster: Cluster, name: str) -> None:
    cluster.run(name, TEN)
    assert cluster.log(name, tail_lines=2) == "line 9\nline 10\n"
    assert cluster.log(name, tail_lines=0) == ""
    assert len(cluster.log(name, tail_lines=100).splitlines()) == 10
    assert cluster.log(name, limit_bytes=9) == "line 1\nli"


def test_timestamps_are_rfc3339_with_nanoseconds_and_ascend(cluster: Cluster, name: str) -> None:
    cluster.run(name, TEN)
    lines = cluster.log(name, timestamps=True).splitlines()
    times = [re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) line \d+", line) for line in lines]
    assert all(times)
    stamps = [match[1] for match in times if match]
    assert stamps == sorted(stamps)


def test_a_log_since_a_moment(cluster: Cluster, name: str) -> None:
    cluster.run(name, "echo early; sleep 4; echo late")
    assert cluster.log(name, since_seconds=3600).splitlines() == ["early", "late"]
    late = cluster.log(name, timestamps=True, tail_lines=1).split(" ")[0]
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/{name}/log"
    one_second_before = dt.datetime.fromisoformat(late) - dt.timedelta(seconds=1)
    since = one_second_before.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert cluster.raw("GET", f"{path}?sinceTime={since}") == "late\n"


def test_a_long_line_stays_one_line(cluster: Cluster, name: str) -> None:
    container = {"image": "python:3.11-slim", "command": ["python3", "-c", "print('x' * 50000); print('end')"]}
    cluster.run(name, container=container)
    assert cluster.log(name).splitlines() == ["x" * 50000, "end"]
    assert cluster.log(name, tail_lines=1).splitlines() == ["end"]


def test_bytes_that_are_no_text_do_not_break_the_stream(cluster: Cluster, name: str) -> None:
    cluster.run(name, r"printf 'gr\303\274n \377\n'; echo end")
    raw = cluster.core.read_namespaced_pod_log(name, cluster.namespace, _preload_content=False).data
    assert raw == b"gr\xc3\xbcn \xff\nend\n"


def test_following_a_log_ends_with_the_container(cluster: Cluster, name: str) -> None:
    cluster.start(name, "echo one; sleep 2; echo two")
    cluster.wait(name, "Running")
    lines = list(watch.Watch().stream(cluster.core.read_namespaced_pod_log, name, cluster.namespace))
    assert lines == ["one", "two"]


@pytest.mark.dev_only
def test_the_end_of_a_log_comes_after_the_end_of_the_container_is_visible(cluster: Cluster, name: str) -> None:
    cluster.start(name, "sleep 1; echo over")
    stream = cluster.core.read_namespaced_pod_log(name, cluster.namespace, follow=True, _preload_content=False)
    assert stream.data == b"over\n"
    assert cluster.pod(name).status.phase == "Succeeded"


def test_lines_arrive_while_the_container_runs(cluster: Cluster, name: str) -> None:
    cluster.start(name, "echo first; sleep 30")
    cluster.wait(name, "Running")
    began = time.monotonic()
    stream = cluster.core.read_namespaced_pod_log(name, cluster.namespace, follow=True, _preload_content=False)
    assert next(iter(stream.stream(64))) == b"first\n"
    assert time.monotonic() - began < 20
    stream.close()


def test_a_follower_sees_the_whole_of_a_busy_log(cluster: Cluster, name: str) -> None:
    # It stays for a while: a real kubelet's follow ends with the container, at times before the last lines.
    script = "import time\nfor i in range(20000): print(i, flush=i == 19999)\ntime.sleep(3)"
    cluster.start(name, container={"image": "python:3.11-slim", "command": ["python3", "-c", script]})
    cluster.wait(name, "Running", "Succeeded")
    stream = cluster.core.read_namespaced_pod_log(name, cluster.namespace, follow=True, _preload_content=False)
    followed, whole = stream.data.split(), [str(i).encode() for i in range(20000)]
    assert followed == whole
    cluster.wait(name, "Succeeded")
    assert cluster.log(name).encode().split() == whole


def test_with_several_containers_one_must_be_named(cluster: Cluster, name: str) -> None:
    body = cluster.manifest(name, "echo from main")
    body["spec"]["containers"].append(
        {**body["spec"]["containers"][0], "name": "other", "command": ["echo", "from other"]}
    )
    cluster.core.create_namespaced_pod(cluster.namespace, body)
    cluster.wait(name, "Succeeded")
    assert cluster.log(name, container="other") == "from other\n"
    refused(
        400,
        lambda: cluster.log(name),
        message=f"a container name must be specified for pod {name}, choose one of: [main other]",
    )
    refused(400, lambda: cluster.log(name, container="none"), message=f"container none is not valid for pod {name}")


def test_a_container_that_has_not_run_has_no_previous_log(cluster: Cluster, name: str) -> None:
    cluster.run(name)
    refused(
        400,
        lambda: cluster.log(name, previous=True),
        message=f'previous terminated container "main" in pod "{name}" not found',
    )


def test_a_follower_that_goes_away_hurts_nobody(cluster: Cluster, name: str) -> None:
    cluster.start(name, "i=0; while [ $i -lt 100 ]; do echo $i; i=$((i+1)); sleep 0.05; done")
    cluster.wait(name, "Running")

    def leave() -> None:
        cluster.core.read_namespaced_pod_log(name, cluster.namespace, follow=True, _preload_content=False).close()

    threads = [threading.Thread(target=leave) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cluster.wait(name, "Succeeded")
    assert len(cluster.log(name).splitlines()) == 100


def test_a_log_of_a_missing_pod(cluster: Cluster, name: str) -> None:
    refused(404, lambda: cluster.log(name), message=f'pods "{name}" not found')


def test_the_log_of_a_pod_that_waits_for_a_node(cluster: Cluster, name: str) -> None:
    cluster.start(name, nodeSelector={"no": "such-node"})
    eventually(lambda: cluster.condition(name, "PodScheduled"))
    assert cluster.log(name) == ""
