"""The log file of a container, in the format of the container runtime interface (CRI).

A record is `time stream tag text`, ends at a newline and nowhere else, and may hold any other byte. The tag is F for a
whole line or its end, P for a piece that the next record continues: https://kubernetes.io/docs/concepts/cluster-administration/logging/
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FIELDS = 4
BLOCK = 1 << 16


class Record(NamedTuple):
    """`text` has a newline where the container wrote one."""

    moment: bytes
    text: bytes

    @property
    def ends_line(self) -> bool:
        """Whether what comes next begins a line. A kubelet takes an empty piece for the end of one."""
        return not self.text or self.text.endswith(b"\n")


def records(data: bytes) -> Iterator[Record]:
    """The records of a part of a file that begins and ends between two; what is none is left out, as a kubelet does."""
    for line in data.split(b"\n"):
        fields = line.split(b" ", FIELDS - 1)
        if len(fields) == FIELDS:
            moment, _, tag, text = fields
            yield Record(moment, text if tag == b"P" else text + b"\n")


def tail_position(path: Path, count: int) -> int:
    """Where the last `count` records begin; a long line is several, as for a kubelet."""
    with path.open("rb") as handle:
        end, newlines = handle.seek(0, os.SEEK_END), count + 1
        while end > 0:
            begin = max(0, end - BLOCK)
            handle.seek(begin)
            block = handle.read(end - begin)
            at = len(block)
            while (at := block.rfind(b"\n", 0, at)) >= 0:
                newlines -= 1
                if not newlines:
                    return begin + at + 1
            end = begin
    return 0


def tail(path: Path, count: int) -> bytes:
    """What the last `count` records say."""
    with path.open("rb") as handle:
        handle.seek(tail_position(path, count))
        return b"".join(record.text for record in records(handle.read()))
