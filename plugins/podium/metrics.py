"""What the proxy in front of the models has counted: requests, failures and latency of one predictor.

Counters only ever grow, so a stretch of time is the difference of two samples. A provider says what to ask for and
how to read the answers; who asks, in a task or in a trigger, is not its business.
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
    """Counters of one predictor since its proxy started.

    :param requests: answered requests.
    :param failed: those answered with a server error (5xx), by the model or by the proxy on its behalf.
    :param buckets: upper limit in ms -> how many took at most so long (cumulative); `inf` holds them all.
    """

    requests: float = 0.0
    failed: float = 0.0
    buckets: Mapping[float, float] = field(default_factory=dict)

    def since(self, earlier: Self) -> "Sample":
        """What was counted after `earlier`.

        A proxy that was restarted counts from zero again: what it counts then is all new.
        """
        if self.requests < earlier.requests:
            return Sample(self.requests, self.failed, dict(self.buckets))
        buckets = {limit: max(0.0, n - earlier.buckets.get(limit, 0.0)) for limit, n in self.buckets.items()}
        return Sample(self.requests - earlier.requests, max(0.0, self.failed - earlier.failed), buckets)

    def plus(self, other: "Sample") -> "Sample":
        """Both together."""
        limits = self.buckets.keys() | other.buckets.keys()
        buckets = {limit: self.buckets.get(limit, 0.0) + other.buckets.get(limit, 0.0) for limit in limits}
        return Sample(self.requests + other.requests, self.failed + other.failed, buckets)

    @property
    def error_rate(self) -> float:
        """Failed requests per request; 0 when there were none."""
        return self.failed / self.requests if self.requests else 0.0

    def quantile_ms(self, q: float) -> float | None:
        """A quantile of the latency, interpolated within its bucket as Prometheus' `histogram_quantile` does.

        :param q: 0 to 1.
        :returns: milliseconds; None without requests. Beyond the last finite limit: that limit.
        """
        total = max(self.buckets.values(), default=0.0)
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
        return {"requests": self.requests, "failed": self.failed, "buckets": buckets}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Sample":
        """The reverse of `to_json`."""
        return Sample(
            float(data["requests"]), float(data["failed"]), {float(k): float(v) for k, v in data["buckets"].items()}
        )


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

    def parse(self, cluster: str, answers: Sequence[str]) -> Sample:
        """Read the answers, in the order of the queries.

        :raises MetricsUnavailableError: they are not what was asked for.
        """
        ...


def cluster_name(namespace: str, service: str, predictor: str) -> str:
    """How the proxy calls a predictor: unambiguous, since Kubernetes names hold no underscore."""
    return f"{namespace}_{service}_{predictor or 'predictor'}"


_LINE: Final = re.compile(r"^(?P<name>\w+)\{(?P<labels>[^}]*)\}\s+(?P<value>\S+)")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class EnvoyMetrics:
    """Counters straight from one Envoy's admin port.

    :param url: of the admin port.
    """

    url: str

    def queries(self, cluster: str) -> Sequence[Query]:
        """Only what concerns the cluster: all of it is large."""
        pattern = rf"^cluster\.{re.escape(cluster)}\.upstream_rq_(xx|\dxx|time)"
        return [Query(f"{self.url}/stats", {"format": "prometheus", "filter": pattern})]

    def parse(self, cluster: str, answers: Sequence[str]) -> Sample:
        """Read the text format of Prometheus: https://prometheus.io/docs/instrumenting/exposition_formats/"""
        requests = failed = 0.0
        buckets: dict[float, float] = {}
        for line in answers[0].splitlines():
            match = _LINE.match(line)
            if match is None:
                continue
            labels = dict(_LABEL.findall(match["labels"]))
            if labels.get("envoy_cluster_name") != cluster:
                continue
            value = float(match["value"])
            if match["name"] == "envoy_cluster_upstream_rq_xx":
                requests += value
                failed += value if labels.get("envoy_response_code_class") == "5" else 0.0
            elif match["name"] == "envoy_cluster_upstream_rq_time_bucket":
                buckets[float(labels["le"])] = value
        return Sample(requests, failed, buckets)


@dataclass(frozen=True)
class PrometheusMetrics:
    """The same counters, of all proxies together, from a Prometheus that scrapes them.

    :param url: of Prometheus.
    """

    url: str

    def queries(self, cluster: str) -> Sequence[Query]:
        """Present values of the counters, summed over proxies."""
        selector = f'{{envoy_cluster_name="{cluster}"}}'
        asked = (
            f"sum by (envoy_response_code_class) (envoy_cluster_upstream_rq_xx{selector})",
            f"sum by (le) (envoy_cluster_upstream_rq_time_bucket{selector})",
        )
        return [Query(f"{self.url}/api/v1/query", {"query": query}) for query in asked]

    def parse(self, cluster: str, answers: Sequence[str]) -> Sample:
        """Read the HTTP API's JSON: https://prometheus.io/docs/prometheus/latest/querying/api/"""
        classes, latencies = (self._vector(json.loads(answer)) for answer in answers)
        by_class = {labels.get("envoy_response_code_class", ""): value for labels, value in classes}
        buckets = {float(labels["le"]): value for labels, value in latencies}
        return Sample(sum(by_class.values()), by_class.get("5", 0.0), buckets)

    def _vector(self, answer: Mapping[str, Any]) -> list[tuple[dict[str, str], float]]:
        if answer.get("status") != "success":
            raise MetricsUnavailableError(f"Prometheus at {self.url} answers: {answer.get('error', answer)}")
        return [(entry["metric"], float(entry["value"][1])) for entry in answer["data"]["result"]]


PROVIDERS: Final[dict[str, Callable[[str], MetricsProvider]]] = {"envoy": EnvoyMetrics, "prometheus": PrometheusMetrics}


def provider(name: str, url: str) -> MetricsProvider:
    """The provider of this name, a key of `PROVIDERS`."""
    return PROVIDERS[name](url.rstrip("/"))


def read(source: MetricsProvider, cluster: str) -> Sample:
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


async def read_async(source: MetricsProvider, cluster: str) -> Sample:
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
