"""Counts and latencies of requests, in bounded memory however long they go on."""

import math
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

#: Width of a latency bucket, as a ratio: quantiles are right to within two per cent.
_RATIO = 1.02
_KEPT_SECONDS = 7_200


class Latencies:
    """A histogram of latencies in milliseconds with buckets of equal ratio."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self._count = 0
        self._sum = 0.0
        self._maximum = 0.0

    def add(self, milliseconds: float) -> None:
        """Count one."""
        self._buckets[math.ceil(math.log(max(milliseconds, 0.01), _RATIO))] += 1
        self._count += 1
        self._sum += milliseconds
        self._maximum = max(self._maximum, milliseconds)

    def quantile(self, share: float) -> float | None:
        """The latency that `share` of the requests do not exceed; None without any."""
        wanted, seen = share * self._count, 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return round(min(_RATIO**bucket, self._maximum), 3)
        return None

    def as_json(self) -> dict[str, float | None]:
        """Mean, quantiles and maximum, milliseconds."""
        return {
            "mean": round(self._sum / self._count, 3) if self._count else None,
            "p50": self.quantile(0.5),
            "p90": self.quantile(0.9),
            "p99": self.quantile(0.99),
            "max": round(self._maximum, 3) if self._count else None,
        }


@dataclass(slots=True)
class _Second:
    """Requests that were answered within one second of the clock."""

    at: int
    requests: int = 0
    failed: int = 0
    latencies: Latencies = field(default_factory=Latencies)
    versions: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        latencies = self.latencies.as_json()
        return {
            "at": self.at,
            "requests": self.requests,
            "failed": self.failed,
            "p50_ms": latencies["p50"],
            "p99_ms": latencies["p99"],
            "versions": dict(self.versions),
        }


class Statistics:
    """All requests so far, and the course of the last hours by second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._started = time.time()
        self._requests = 0
        self._failures: Counter[str] = Counter()
        self._versions: Counter[str] = Counter()
        self._latencies = Latencies()
        # Seconds that have passed are kept as they are written: they do not change any more.
        self._passed: deque[dict[str, Any]] = deque(maxlen=_KEPT_SECONDS)
        self._second = _Second(int(self._started))

    def add(self, due: float, failure: str | None, version: str | None) -> None:
        """Count an answered request: when it was due (monotonic clock), why it failed, which model answered."""
        milliseconds = (time.monotonic() - due) * 1000
        second = self._current()
        self._requests += 1
        second.requests += 1
        self._latencies.add(milliseconds)
        second.latencies.add(milliseconds)
        if failure is not None:
            self._failures[failure] += 1
            second.failed += 1
        if version is not None:
            self._versions[version] += 1
            second.versions[version] += 1

    def as_json(self) -> dict[str, Any]:
        """`{requests, failed, failures, versions, latency_ms, started_at, updated_at, rate, seconds}`."""
        return {
            "requests": self._requests,
            "failed": self._failures.total(),
            "failures": dict(self._failures),
            "versions": dict(self._versions),
            "latency_ms": self._latencies.as_json(),
            "started_at": self._started,
            "updated_at": time.time(),
            "rate": self._rate,
            "seconds": [*self._passed, self._second.as_json()],
        }

    def _current(self) -> _Second:
        now = int(time.time())
        if self._second.at != now:
            if self._second.requests:
                self._passed.append(self._second.as_json())
            self._second = _Second(now)
        return self._second
