import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from podium.errors import MetricsUnavailableError
from podium.metrics import Counters, EnvoyMetrics, PrometheusMetrics, Sample, cluster_name

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
    counters = EnvoyMetrics("http://x").parse("podium_rec_v3", [STATS])
    assert counters.since(Counters()) == Sample(100, 2, {5.0: 50.0, 10.0: 90.0, INF: 100.0}, refused=1)


def test_without_traffic_is_not_without_data() -> None:
    known = 'envoy_cluster_membership_total{envoy_cluster_name="podium_rec_v9"} 1'
    without_traffic = EnvoyMetrics("http://x").parse("podium_rec_v9", [STATS + known])
    assert without_traffic
    assert without_traffic.since(Counters()) == Sample()
    assert not EnvoyMetrics("http://x").parse("podium_rec_v9", [STATS])


def vector(*series: tuple[dict[str, str], int]) -> str:
    found = [{"metric": labels, "value": [1, str(value)]} for labels, value in series]
    return json.dumps({"status": "success", "data": {"result": found}})


ONE, OTHER = {"pod": "gateway-1", "instance": "10.0.0.1:9901"}, {"pod": "gateway-2", "instance": "10.0.0.2:9901"}


def scraped(one: int, other: int) -> Counters:
    """Two proxies that have counted so many requests."""
    answers = [
        vector(
            ({**ONE, "envoy_response_code_class": "2"}, one),
            ({**OTHER, "envoy_response_code_class": "2"}, other - 3),
            ({**OTHER, "envoy_response_code_class": "5"}, 3),
        ),
        vector(({**ONE, "le": "+Inf"}, one), ({**OTHER, "le": "10"}, other - 1), ({**OTHER, "le": "+Inf"}, other)),
        vector((ONE, 1), (OTHER, 1)),
    ]
    return PrometheusMetrics("http://x").parse("c", answers)


def test_prometheus_is_read_by_proxy() -> None:
    found = scraped(40, 100).instances
    assert found["gateway-1/10.0.0.1:9901"] == Sample(40, 0, {INF: 40})
    assert found["gateway-2/10.0.0.2:9901"] == Sample(100, 3, {10.0: 99, INF: 100})


@pytest.mark.parametrize(("one", "new"), [(5, 25), (0, 20), (50, 30)])
def test_of_a_proxy_that_restarts_only_new_requests_count(one: int, new: int) -> None:
    assert scraped(one, 120).since(scraped(40, 100)).requests == new


def test_a_proxy_that_is_away_for_a_while_brings_only_what_it_counted_meanwhile() -> None:
    before, back = scraped(40, 100), scraped(45, 110)
    without = Counters({name: sample for name, sample in before.instances.items() if "gateway-2" in name})
    seen = without.after(before)
    assert without.since(before).requests == 0
    assert back.since(seen).requests == 15


def test_prometheus_without_series_knows_nothing_and_without_traffic_counts_nothing() -> None:
    source = PrometheusMetrics("http://x")
    assert not source.parse("c", [vector()] * 3)
    assert source.parse("c", [vector(), vector(), vector((ONE, 1))]).since(Counters()) == Sample()


@given(st.lists(st.integers(0, 100), min_size=1, max_size=4))
def test_counters_survive_json(counts: list[int]) -> None:
    counters = Counters({f"proxy-{n}": Sample(count, 0, {INF: count}) for n, count in enumerate(counts)})
    assert Counters.from_json(json.loads(json.dumps(counters.to_json()))) == counters


def test_prometheus_error_is_passed_on() -> None:
    with pytest.raises(MetricsUnavailableError, match="too many samples"):
        PrometheusMetrics("http://x").parse("c", ['{"status":"error","error":"too many samples"}'] * 3)


def test_difference_counts_only_what_came_after() -> None:
    before = Sample(100, 2, {5.0: 50, 10.0: 90, INF: 100})
    after = Sample(150, 2, {5.0: 100, 10.0: 140, INF: 150})
    assert after.since(before) == Sample(50, 0, {5.0: 50, 10.0: 50, INF: 50})


def test_a_restarted_proxy_counts_from_zero() -> None:
    after = Sample(7, 1, {5.0: 7, INF: 7})
    assert after.since(Sample(100, 2, {5.0: 90, INF: 100})) == after


@pytest.mark.parametrize(("limit", "slower"), [(5.0, 50), (6.0, 10), (10.0, 10), (11.0, 0)])
def test_slower_than_rounds_the_limit_up_to_the_histograms(limit: float, slower: int) -> None:
    assert Sample(100, 0, {5.0: 50, 10.0: 90, INF: 100}).slower_than(limit) == slower


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
    buckets = dict(zip([5.0, 10.0, INF], map(float, counts), strict=True))
    sample = Sample(sum(counts), failed, buckets, refused=1)
    assert Sample.from_json(sample.to_json()) == sample


def test_cluster_name_of_a_nameless_predictor() -> None:
    assert cluster_name("podium", "recommender", "") == "podium_recommender_predictor"
