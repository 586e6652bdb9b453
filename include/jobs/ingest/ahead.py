"""Doing the next step of a pipeline while the last result is being used."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")


def ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """The same items, each made in a thread of its own while the caller still works on the one before.

    At most one item is made in advance, so that memory stays bounded. What making one raises is raised here. Threads
    pay off because librdkafka, Arrow and Parquet work without Python's global lock.
    """
    end = object()
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(next, items, end)
        while (item := pending.result()) is not end:
            pending = pool.submit(next, items, end)
            yield item  # type: ignore[misc]
