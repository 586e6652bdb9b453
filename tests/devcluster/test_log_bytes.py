"""What a container writes is what its log says, whatever bytes that are, but for carriage returns that end lines.

Container runtimes differ there: containerd takes one off before a newline, and so does the dev cluster.
"""

from __future__ import annotations

import base64
import itertools
import re
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.devcluster.cluster import Cluster

STAMP = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z "
# As container runtimes cut long lines, https://github.com/containerd/containerd (max_container_log_line_size).
PIECE = 16 * 1024
# What one library or another takes for the end of a line or of a text, and what is no text at all.
ODD = [
    *(b"\n", b"\r", b"\r\n", b"\0", b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", b"\x85", b" ", b"\t", b"\x1b[2K"),
    *("\x85".encode(), "\u2028".encode(), "\u2029".encode(), "\ufeff".encode(), b"\xff", b"\xed\xa0\x80"),
    *("€".encode()[:2], "€".encode()[2:], b"2026-01-01T00:00:00.000000000Z stdout F x", b"\repoch 50%\repoch 100%"),
]
LONG = st.integers(-2, 2).flatmap(lambda more: st.sampled_from([b"x" * (n * PIECE + more) for n in (1, 2)]))
OUTPUT = st.lists(st.one_of(st.sampled_from(ODD), st.binary(max_size=20), LONG), max_size=12).map(
    lambda parts: b"".join(parts)[:LONGEST]
)
# What fits one argument of a command, in base64.
LONGEST = 90_000
LINES = re.compile(rb"[^\n]*\n|[^\n]+")
NUMBERS = itertools.count()


def wrote(data: bytes) -> str:
    """A script that writes these bytes."""
    return f"echo {base64.b64encode(data).decode()} | base64 -d"


def read(cluster: Cluster, name: str, **options: Any) -> bytes:
    answer = cluster.core.read_namespaced_pod_log(name, cluster.namespace, _preload_content=False, **options)
    return bytes(answer.data)


def kept(data: bytes) -> bytes:
    """What of it a log holds."""
    return data.replace(b"\r\n", b"\n")


def pieces(data: bytes) -> list[bytes]:
    """What a container runtime makes of it."""
    cut = []
    for line in LINES.findall(data):
        while len(line.rstrip(b"\n")) > PIECE:
            cut.append(line[:PIECE])
            line = line[PIECE:]
        cut.append(line)
    return cut


@given(outputs=st.lists(OUTPUT, min_size=8, max_size=8), tail=st.integers(0, 5), limit=st.integers(1, 3 * PIECE))
@example(
    [b"\r\n", b"a\r\r\nb\r", *(b"x" * size + b"\r\n" for size in (PIECE, PIECE - 1)), b"\n\r", b"\r", b"", b"y"], 1, 1
)
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_come_back_as_they_were_written(
    cluster: Cluster, name: str, outputs: list[bytes], tail: int, limit: int
) -> None:
    pod = f"{name}-{next(NUMBERS)}"
    body = cluster.manifest(pod)
    (like,) = body["spec"]["containers"]
    written = {f"c{number}": output for number, output in enumerate(outputs)}
    body["spec"]["containers"] = [
        {**like, "name": own, "command": ["sh", "-c", f"{wrote(data)}; sleep 0.5"]} for own, data in written.items()
    ]
    logged = {own: kept(data) for own, data in written.items()}
    cluster.core.create_namespaced_pod(cluster.namespace, body)
    cluster.wait(pod, "Running", "Succeeded")
    for own, data in logged.items():
        assert read(cluster, pod, container=own, follow=True) == data
    cluster.wait(pod, "Succeeded")
    for own, data in logged.items():
        assert read(cluster, pod, container=own) == data
        assert read(cluster, pod, container=own, limit_bytes=limit) == data[:limit]
        assert read(cluster, pod, container=own, tail_lines=tail) == b"".join(pieces(data)[-tail:] if tail else [])
        assert read(cluster, pod, container=own, since_seconds=3600) == data
        stamped = read(cluster, pod, container=own, timestamps=True)
        assert re.sub(rb"(?m)^" + STAMP, b"", stamped) == data
        assert len(re.findall(rb"(?m)^" + STAMP, stamped)) == len(LINES.findall(data))


def test_kubectl_shows_a_progress_bar(cluster: Cluster, name: str) -> None:
    cluster.run(name, r"printf '\repoch 50%%\repoch 100%%\n' >&2; sleep 0.2; echo done")
    assert read(cluster, name) == b"\repoch 50%\repoch 100%\ndone\n"
    # Text of a program's output has its ends of lines made one.
    assert cluster.kubectl("logs", name) == "\nepoch 50%\nepoch 100%\ndone\n"


def test_a_line_of_many_megabytes_is_whole_and_cheap(cluster: Cluster, name: str) -> None:
    size = 48 << 20
    cluster.run(name, f"head -c {size} /dev/zero | tr '\\000' x; echo; echo end")
    began = time.process_time()
    whole = read(cluster, name)
    assert time.process_time() - began < 20
    assert len(whole) == size + len("\nend\n")
    assert whole.endswith(b"x\nend\n")
    assert read(cluster, name, tail_lines=1) == b"end\n"
    assert read(cluster, name, tail_lines=2) == b"x" * ((size - 1) % PIECE + 1) + b"\nend\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\rstep 1\rstep 2\nboom\n", "\rstep 1\rstep 2\nboom\n"),
        (b"a\x85b\x0cc \xe2\x80\xa8d\n", "a\ufffdb\x0cc \u2028d\n"),
        (b"", None),
        (b"x" * PIECE + b"y" * 100, "x" * (2048 - 100) + "y" * 100),
    ],
    ids=["progress bar", "odd ends of lines", "nothing", "one long line"],
)
def test_the_end_of_any_log_is_a_message(cluster: Cluster, name: str, data: bytes, message: str | None) -> None:
    container = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    pod = cluster.run(name, f"{wrote(data)}; exit 3", container=container)
    ended = pod.status.container_statuses[0].state.terminated
    assert (ended.exit_code, ended.message) == (3, message)
