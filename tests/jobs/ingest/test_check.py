"""Records against the contract: every kind of break has its reason, and the fast check is the slow one, faster."""

from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.jobs.ingest.check import Checked, check_batch, check_one_by_one
from include.jobs.ingest.contract import BrokenRecordError, Contract, ContractError, Reason
from tests.jobs.ingest.records import KEY, ODD, columns, encode, fuzzed, keys, values
from tests.jobs.ingest.sales import CONTRACT


def reason_of(value: bytes | None, key: bytes | None = KEY) -> Reason:
    with pytest.raises(BrokenRecordError) as caught:
        CONTRACT.check(key, value)
    assert caught.value.detail
    return caught.value.reason


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.NOT_JSON),
        (b"", Reason.NOT_JSON),
        (b"basket 1 was sold", Reason.NOT_JSON),
        (encode()[:100], Reason.NOT_JSON),
        (encode() + b"\n" + encode(), Reason.NOT_JSON),
        (b"[" + encode() + b"]", Reason.NOT_AN_OBJECT),
        (b"null", Reason.NOT_AN_OBJECT),
        (encode(product_id=None), Reason.MISSING_FIELD),
        (encode().replace(b'"product_id":1095275', b'"product_id":null'), Reason.MISSING_FIELD),
        (encode(quantity="1"), Reason.WRONG_TYPE),
        (encode(quantity=1.0), Reason.WRONG_TYPE),
        (encode(quantity=True), Reason.WRONG_TYPE),
        (encode(event_id=5), Reason.WRONG_TYPE),
        (encode(transaction_timestamp=1483271606), Reason.WRONG_TYPE),
        (encode(schema_version=True), Reason.WRONG_TYPE),
        (encode(quantity=-1), Reason.IMPOSSIBLE_VALUE),
        (encode(basket_id=2**64 - 1), Reason.IMPOSSIBLE_VALUE),
        (encode(sales_value=-0.01), Reason.IMPOSSIBLE_VALUE),
        (encode(sales_value=1e30), Reason.IMPOSSIBLE_VALUE),
        (encode(event_id="1"), Reason.IMPOSSIBLE_VALUE),
        (encode(transaction_timestamp="2017-02-30T25:61:00Z"), Reason.IMPOSSIBLE_VALUE),
        (encode(transaction_timestamp="2017-01-01T11:53:26+01:00"), Reason.IMPOSSIBLE_VALUE),
        (encode(transaction_timestamp="1917-01-01T11:53:26Z"), Reason.IMPOSSIBLE_VALUE),
        (encode(schema_version=2), Reason.UNKNOWN_VERSION),
        (encode(schema_version=2, product_id=None), Reason.UNKNOWN_VERSION),
        (encode(note="x" * 5000), Reason.OVERSIZED),
        (encode().replace(b'"event_id":"', b'"event_id":"\xff\xfe'), Reason.BAD_ENCODING),
    ],
)
def test_a_broken_value_has_its_reason(value: bytes | None, reason: Reason) -> None:
    assert reason_of(value) is reason
    (broken,) = check_batch(CONTRACT, *columns([(KEY, value)])).broken
    assert broken.reason is reason


@pytest.mark.parametrize("key", [None, b"", b"901", b"0900", b"\xff"])
def test_a_wrong_key_is_found(key: bytes | None) -> None:
    assert reason_of(encode(), key) is Reason.WRONG_KEY
    assert [broken.reason for broken in check_batch(CONTRACT, *columns([(key, encode())])).broken] == [Reason.WRONG_KEY]


def test_a_good_record_keeps_its_values_and_unknown_fields_are_ignored() -> None:
    checked = check_batch(CONTRACT, *columns([(KEY, encode(sales_value=2, note="more"))]))
    assert checked.good.to_pylist() == [0]
    row = {name: column[0].as_py() for name, column in checked.columns.items()}
    assert list(row) == list(CONTRACT.names)
    assert row["sales_value"] == 2.0
    assert row["basket_id"] == 31198570044
    assert row["transaction_timestamp"].isoformat() == "2017-01-01T11:53:26+00:00"


def test_an_empty_batch_has_columns() -> None:
    checked = check_batch(CONTRACT, *columns([]))
    assert (checked.good.to_pylist(), checked.broken) == ([], [])
    assert {len(column) for column in checked.columns.values()} == {0}


def assert_agreement(messages: list[tuple[bytes | None, bytes | None]]) -> Checked:
    """The fast check says what the authority says, and all records are accounted for."""
    batch = columns(messages)
    fast, slow = check_batch(CONTRACT, *batch), check_one_by_one(CONTRACT, *batch)
    assert fast.good.to_pylist() == slow.good.to_pylist()
    assert fast.broken == slow.broken
    assert sorted(fast.good.to_pylist() + [broken.index for broken in fast.broken]) == list(range(len(messages)))
    for name in CONTRACT.names:
        assert fast.columns[name].type == slow.columns[name].type
        assert repr(fast.columns[name].to_pylist()) == repr(slow.columns[name].to_pylist()), name
    return fast


@pytest.mark.parametrize("value", ODD)
def test_odd_records_are_read_as_the_authority_reads_them(value: bytes) -> None:
    """Alone, among good ones, and many of them."""
    for batch in ([value], [encode(), value, encode()], [value] * 3, [*ODD, value]):
        assert_agreement([(KEY, one) for one in batch])


def test_a_quotation_mark_that_is_not_closed_does_not_join_two_records() -> None:
    """Together these are one JSON object."""
    half = [b'{"event_id":"x}', b'{","quantity":1}']
    assert_agreement([(KEY, value) for value in (encode(), *half, encode())])
    assert_agreement([(KEY, value) for value in half])


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(keys, values), max_size=12))
def test_the_fast_check_says_what_the_slow_one_says(messages: list[tuple[bytes | None, bytes | None]]) -> None:
    assert_agreement(messages)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(st.tuples(keys, values), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_it_does_so_for_large_batches_with_broken_records_among_good_ones(
    messages: list[tuple[bytes | None, bytes | None]], random: Random
) -> None:
    """Several blocks, some of which must be cut to find the offenders."""
    good = [(KEY, encode(event_id=f"31198570044-{number}")) for number in range(10_000)]
    for message in messages:
        good.insert(random.randrange(len(good)), message)
    checked = assert_agreement(good)
    assert len(checked.good) >= 10_000


def test_ten_thousand_fuzzed_records_are_all_accounted_for() -> None:
    checked = assert_agreement(fuzzed(10_000, seed=11))
    assert 500 < len(checked.good) < 9_500
    assert len({broken.reason for broken in checked.broken}) >= 6


@pytest.mark.parametrize(
    "value",
    [encode(note="more"), encode(note=1), b" " + encode(), encode(note={"a": 1}), encode(note='"')],
    ids=["a field more", "a number more", "a blank", "an object within", "an escape"],
)
def test_unusual_but_good_records_are_accepted_whole_batches_of_them(value: bytes) -> None:
    assert len(assert_agreement([(KEY, value)] * 300 + [(KEY, encode())] * 300).good) == 600


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(keys, values)
def test_what_is_accepted_is_what_was_sent(key: bytes | None, value: bytes | None) -> None:
    checked = check_batch(CONTRACT, *columns([(key, value)]))
    if len(checked.good):
        assert value is not None
        sent: dict[str, Any] = orjson.loads(value)
        for name, column in checked.columns.items():
            got = column[0].as_py()
            assert got == (sent[name] if name != "transaction_timestamp" else got)


def test_a_missing_or_damaged_contract_is_named() -> None:
    with pytest.raises(ContractError, match=r"nosuch\.v1\.yaml"):
        Contract.load("nosuch.v1")
