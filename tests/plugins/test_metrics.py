import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from podium.errors import MetricsUnavailableError
from podium.metrics import EnvoyMetrics, PrometheusMetrics, Sample, cluster_name

INF = math.inf

STATS = """\
# TYPE envoy_cluster_upstream_rq_xx counter
envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="podium_rec_v3"} 97
envoy_cluster_upstream_rq_xx{envoy_response_code_class="4",envoy_cluster_name="podium_rec_v3"} 1
envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="podium_rec_v3"} 2
envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="podium_rec_v30"} 999
# TYPE envoy_cluster_upstream_rq_time histogram
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="podium_rec_v3",le="5"} 50
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="podium_rec_v3",le="10"} 90
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="podium_rec_v3",le="+Inf"} 100
envoy_cluster_upstream_rq_time_sum{envoy_cluster_name="podium_rec_v3"} 1234
envoy_cluster_upstream_rq_time_count{envoy_cluster_name="podium_rec_v3"} 100
"""


def test_envoy_counts_responses_of_one_cluster_by_class() -> None:
    sample = EnvoyMetrics("http://x").parse("podium_rec_v3", [STATS])
    assert (sample.requests, sample.failed) == (100, 2)
    assert sample.buckets == {5.0: 50.0, 10.0: 90.0, INF: 100.0}


def test_envoy_cluster_without_traffic_is_zero() -> None:
    assert EnvoyMetrics("http://x").parse("podium_rec_v9", [STATS]) == Sample()


def test_prometheus_sums_over_proxies() -> None:
    classes = (
        '{"status":"success","data":{"result":[{"metric":{"envoy_response_code_class":"2"},"value":[1,"97"]},'
        '{"metric":{"envoy_response_code_class":"5"},"value":[1,"3"]}]}}'
    )
    latency = (
        '{"status":"success","data":{"result":[{"metric":{"le":"10"},"value":[1,"90"]},'
        '{"metric":{"le":"+Inf"},"value":[1,"100"]}]}}'
    )
    assert PrometheusMetrics("http://x").parse("c", [classes, latency]) == Sample(100, 3, {10.0: 90.0, INF: 100.0})


def test_prometheus_error_is_passed_on() -> None:
    with pytest.raises(MetricsUnavailableError, match="too many samples"):
        PrometheusMetrics("http://x").parse("c", ['{"status":"error","error":"too many samples"}'] * 2)


def test_difference_counts_only_what_came_after() -> None:
    before = Sample(100, 2, {5.0: 50, 10.0: 90, INF: 100})
    after = Sample(150, 2, {5.0: 100, 10.0: 140, INF: 150})
    assert after.since(before) == Sample(50, 0, {5.0: 50, 10.0: 50, INF: 50})


def test_a_restarted_proxy_counts_from_zero() -> None:
    after = Sample(7, 1, {5.0: 7, INF: 7})
    assert after.since(Sample(100, 2, {5.0: 90, INF: 100})) == after


@pytest.mark.parametrize(
    ("buckets", "q", "expected"),
    [
        ({10.0: 100, INF: 100}, 0.99, 9.9),
        ({10.0: 0, 20.0: 100, INF: 100}, 0.5, 15.0),
        ({5.0: 50, 10.0: 90, 20.0: 100, INF: 100}, 0.95, 15.0),
        # Beyond the last limit nothing is known but that it was more.
        ({5.0: 50, 10.0: 90, INF: 100}, 0.99, 10.0),
        ({5.0: 1, INF: 1}, 1.0, 5.0),
        ({}, 0.99, None),
        ({5.0: 0, INF: 0}, 0.99, None),
    ],
)
def test_quantile_is_that_of_prometheus(buckets: dict[float, float], q: float, expected: float | None) -> None:
    found = Sample(100, 0, buckets).quantile_ms(q)
    assert found == (None if expected is None else pytest.approx(expected))


LIMITS = [1.0, 5.0, 10.0, 50.0, INF]


@given(st.lists(st.floats(0, 49, allow_nan=False), min_size=1, max_size=200), st.floats(0.01, 1))
def test_quantile_lies_in_the_bucket_of_the_true_one(latencies: list[float], q: float) -> None:
    buckets = {limit: float(sum(value <= limit for value in latencies)) for limit in LIMITS}
    found = Sample(len(latencies), 0, buckets).quantile_ms(q)
    true = sorted(latencies)[max(0, math.ceil(q * len(latencies)) - 1)]
    assert found is not None
    upper = next(limit for limit in LIMITS if true <= limit)
    lower = max([0.0, *(limit for limit in LIMITS if limit < upper)])
    assert lower <= found + 1e-6
    assert found <= upper + 1e-6


@given(st.lists(st.integers(0, 1000), min_size=3, max_size=3), st.integers(0, 50))
def test_survives_json(counts: list[int], failed: int) -> None:
    sample = Sample(sum(counts), failed, dict(zip([5.0, 10.0, INF], map(float, counts), strict=True)))
    assert Sample.from_json(sample.to_json()) == sample


def test_cluster_name_of_a_nameless_predictor() -> None:
    assert cluster_name("podium", "recommender", "") == "podium_recommender_predictor"
