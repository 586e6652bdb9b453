"""What the proxy in front of the models has counted: requests, failures and latency of one predictor.

Counters only ever grow while who counts runs, so a stretch of time is the difference of two samples of the same
instance. A provider says what to ask for and how to read the answers; who asks, in a task or in a trigger, is not its
business.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from podium.errors import MetricsUnavailableError
from podium.platform import settings

if TYPE_CHECKING:
    from airflow.sdk import Connection

TIMEOUT_S: Final = 5.0


@dataclass(frozen=True)
class Sample:
    """Counters of one predictor.

    :param requests: answered requests.
    :param failed: those answered with a server error (5xx), by the model or by the proxy on its behalf.
    :param buckets: upper limit in ms -> how many took at most so long (cumulative); `inf` holds them all.
    :param refused: those answered with a client error (4xx).
    """

    requests: float = 0.0
    failed: float = 0.0
    buckets: Mapping[float, float] = field(default_factory=dict)
    refused: float = 0.0

    def since(self, earlier: Self) -> "Sample":
        """What one instance counted after `earlier`.

        A counter that fell says that the instance was restarted: all that it counts now is new.
        """
        if self._is_restarted(earlier):
            return self
        return Sample(
            self.requests - earlier.requests,
            self.failed - earlier.failed,
            {limit: n - earlier.buckets.get(limit, 0.0) for limit, n in self.buckets.items()},
            self.refused - earlier.refused,
        )

    def _is_restarted(self, earlier: Self) -> bool:
        return (
            self.requests < earlier.requests
            or self.failed < earlier.failed
            or self.refused < earlier.refused
            or any(self.buckets.get(limit, 0.0) < n for limit, n in earlier.buckets.items())
        )

    def plus(self, other: "Sample") -> "Sample":
        """Both together."""
        limits = self.buckets.keys() | other.buckets.keys()
        buckets = {limit: self.buckets.get(limit, 0.0) + other.buckets.get(limit, 0.0) for limit in limits}
        return Sample(self.requests + other.requests, self.failed + other.failed, buckets, self.refused + other.refused)

    @property
    def timed(self) -> float:
        """How many requests a latency is known of."""
        return max(self.buckets.values(), default=0.0)

    def slower_than(self, limit_ms: float) -> float:
        """How many requests took longer.

        :param limit_ms: rounded up to the next limit of the histogram, so that no request is wronged.
        """
        limit = min((at for at in self.buckets if at >= limit_ms), default=math.inf)
        return self.timed - self.buckets.get(limit, 0.0)

    def quantile_ms(self, q: float) -> float | None:
        """A quantile of the latency, interpolated within its bucket as Prometheus' `histogram_quantile` does.

        :param q: 0 to 1.
        :returns: milliseconds; None without requests. Beyond the last finite limit: that limit.
        """
        total = self.timed
        if total <= 0:
            return None
        rank, below, lower = q * total, 0.0, 0.0
        for limit in sorted(self.buckets):
            count = self.buckets[limit]
            if count >= rank:
                if math.isinf(limit):
                    return lower
                share = (rank - below) / (count - below) if count > below else 1.0
                return lower + (limit - lower) * share
            below, lower = count, limit
        return lower

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, which has no infinity."""
        buckets = {"inf" if math.isinf(limit) else repr(limit): n for limit, n in self.buckets.items()}
        return {"requests": self.requests, "failed": self.failed, "refused": self.refused, "buckets": buckets}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Sample":
        """The reverse of `to_json`."""
        return Sample(
            float(data["requests"]),
            float(data["failed"]),
            {float(k): float(v) for k, v in data["buckets"].items()},
            float(data.get("refused", 0.0)),
        )


@dataclass(frozen=True)
class Counters:
    """Counters of one predictor, by who counts: a proxy, or a pod.

    Their sum may grow while one of them begins again, so each is held against its own past. No instance at all means
    that nothing is known; an instance that has counted nothing means that there was no request.

    :param instances: name of the instance -> what it has counted since it started.
    """

    instances: Mapping[str, Sample] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.instances)

    def since(self, earlier: Self) -> Sample:
        """What all of them counted after `earlier`; an instance that was not there then is new."""
        total = Sample()
        for name, sample in self.instances.items():
            total = total.plus(sample.since(earlier.instances.get(name, Sample())))
        return total

    def after(self, earlier: Self) -> "Counters":
        """These, and of an instance that is missing what it had counted: it may come back."""
        return Counters({**earlier.instances, **self.instances})

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {name: sample.to_json() for name, sample in self.instances.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Counters":
        """The reverse of `to_json`."""
        return Counters({name: Sample.from_json(sample) for name, sample in data.items()})


@dataclass(frozen=True)
class Query:
    """One HTTP GET."""

    url: str
    params: Mapping[str, str]


class MetricsProvider(Protocol):
    """A source of samples."""

    def queries(self, cluster: str) -> Sequence[Query]:
        """What to ask for.

        :param cluster: name of the predictor at the proxy, see `cluster_name`.
        """
        ...

    def parse(self, cluster: str, answers: Sequence[str]) -> Counters:
        """Read the answers, in the order of the queries.

        :returns: empty when nobody counts for this predictor.
        :raises MetricsUnavailableError: they are not what was asked for.
        """
        ...


def cluster_name(namespace: str, service: str, predictor: str) -> str:
    """How the proxy calls a predictor: unambiguous, since Kubernetes names hold no underscore."""
    return f"{namespace}_{service}_{predictor or 'predictor'}"


_LINE: Final = re.compile(r"^(?P<name>\w+)\{(?P<labels>[^}]*)\}\s+(?P<value>\S+)")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

CLASSES: Final = "envoy_cluster_upstream_rq_xx"
LATENCY: Final = "envoy_cluster_upstream_rq_time_bucket"
# Envoy makes the others at the first request, and this one with the cluster.
KNOWN: Final = "envoy_cluster_membership_total"

Series = tuple[str, Mapping[str, str], float]


def _sample(series: Sequence[Series]) -> Sample:
    requests = failed = refused = 0.0
    buckets: dict[float, float] = {}
    for name, labels, value in series:
        if name == CLASSES:
            requests += value
            failed += value if labels.get("envoy_response_code_class") == "5" else 0.0
            refused += value if labels.get("envoy_response_code_class") == "4" else 0.0
        elif name == LATENCY:
            buckets[float(labels["le"])] = value
    return Sample(requests, failed, buckets, refused)


@dataclass(frozen=True)
class EnvoyMetrics:
    """Counters straight from one Envoy's admin port.

    :param url: of the admin port.
    """

    url: str

    def queries(self, cluster: str) -> Sequence[Query]:
        """Only what concerns the cluster: all of it is large."""
        pattern = rf"^cluster\.{re.escape(cluster)}\.(upstream_rq_(xx|\dxx|time)|membership_total)"
        return [Query(f"{self.url}/stats", {"format": "prometheus", "filter": pattern})]

    def parse(self, cluster: str, answers: Sequence[str]) -> Counters:
        """Read the text format of Prometheus: https://prometheus.io/docs/instrumenting/exposition_formats/"""
        found: list[Series] = []
        for line in answers[0].splitlines():
            match = _LINE.match(line)
            if match is None:
                continue
            labels = dict(_LABEL.findall(match["labels"]))
            if labels.get("envoy_cluster_name") == cluster:
                found.append((match["name"], labels, float(match["value"])))
        return Counters({self.url: _sample(found)} if found else {})


@dataclass(frozen=True)
class PrometheusMetrics:
    """The same counters, of each proxy, from a Prometheus that scrapes them.

    A proxy is known by its labels `pod` and `instance`, which service discovery sets.

    :param url: of Prometheus.
    """

    url: str

    def queries(self, cluster: str) -> Sequence[Query]:
        """Present values of the counters, by proxy."""
        selector = f'{{envoy_cluster_name="{cluster}"}}'
        asked = (
            f"sum by (pod, instance, envoy_response_code_class) ({CLASSES}{selector})",
            f"sum by (pod, instance, le) ({LATENCY}{selector})",
            f"sum by (pod, instance) ({KNOWN}{selector})",
        )
        return [Query(f"{self.url}/api/v1/query", {"query": query}) for query in asked]

    def parse(self, cluster: str, answers: Sequence[str]) -> Counters:
        """Read the HTTP API's JSON: https://prometheus.io/docs/prometheus/latest/querying/api/"""
        found: dict[str, list[Series]] = {}
        for name, answer in zip((CLASSES, LATENCY, KNOWN), answers, strict=True):
            for labels, value in self._vector(json.loads(answer)):
                proxy = f"{labels.get('pod', '')}/{labels.get('instance', '')}"
                found.setdefault(proxy, []).append((name, labels, value))
        return Counters({proxy: _sample(series) for proxy, series in found.items()})

    def _vector(self, answer: Mapping[str, Any]) -> list[tuple[dict[str, str], float]]:
        if answer.get("status") != "success":
            raise MetricsUnavailableError(f"Prometheus at {self.url} answers: {answer.get('error', answer)}")
        return [(entry["metric"], float(entry["value"][1])) for entry in answer["data"]["result"]]


PROVIDERS: Final[dict[str, Callable[[str], MetricsProvider]]] = {"envoy": EnvoyMetrics, "prometheus": PrometheusMetrics}


def provider(name: str, url: str) -> MetricsProvider:
    """The provider of this name, a key of `PROVIDERS`."""
    return PROVIDERS[name](url.rstrip("/"))


def read(source: MetricsProvider, cluster: str) -> Counters:
    """Ask and parse, from a task.

    :raises MetricsUnavailableError: the source cannot be reached, or answers something else.
    """
    import httpx
    from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

    try:
        with httpx.Client(timeout=TIMEOUT_S, headers=_headers(_connection())) as client:
            answers = [
                client.get(q.url, params=dict(q.params)).raise_for_status().text for q in source.queries(cluster)
            ]
        return source.parse(cluster, answers)
    except (httpx.HTTPError, ValueError, KeyError, AirflowNotFoundException, AirflowRuntimeError) as error:
        raise _unavailable(source, error) from error


async def read_async(source: MetricsProvider, cluster: str) -> Counters:
    """Ask and parse, from an event loop.

    :raises MetricsUnavailableError: the source cannot be reached, or answers something else.
    """
    import httpx
    from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S, headers=_headers(await _connection_async())) as client:
            answers = []
            for query in source.queries(cluster):
                response = await client.get(query.url, params=dict(query.params))
                answers.append(response.raise_for_status().text)
        return source.parse(cluster, answers)
    except (httpx.HTTPError, ValueError, KeyError, AirflowNotFoundException, AirflowRuntimeError) as error:
        raise _unavailable(source, error) from error


def _connection() -> "Connection | None":
    from airflow.sdk import BaseHook

    name = settings().airflow.metrics_connection_id
    return BaseHook.get_connection(name) if name else None


async def _connection_async() -> "Connection | None":
    from airflow.sdk import BaseHook

    name = settings().airflow.metrics_connection_id
    return await BaseHook.aget_connection(name) if name else None


def _headers(connection: "Connection | None") -> dict[str, str]:
    return {"Authorization": f"Bearer {connection.password}"} if connection else {}


def _unavailable(source: MetricsProvider, error: Exception) -> MetricsUnavailableError:
    url = getattr(source, "url", source)
    return MetricsUnavailableError(
        f"The rollout's metrics cannot be read from {url}: {error or type(error).__name__}. "
        "Check that it runs, endpoints.metrics_url in include/config, and the token that airflow.metrics_connection_id "
        "there names a connection of."
    )
