"""Records that are written alike are read in columns; what is written otherwise is not, and spoils no other."""

import orjson
import pyarrow as pa
import pytest

from include.jobs.ingest.alike import Layout
from tests.jobs.ingest.records import GOOD, encode
from tests.jobs.ingest.sales import CONTRACT


def read(records: list[bytes], sample: bytes | None = None) -> tuple[list[dict[str, object]], list[bool]]:
    layout = Layout.of(CONTRACT, sample or encode())
    assert layout is not None
    columns, alike = layout.read(pa.array(records, pa.large_binary()))
    return pa.table(columns).to_pylist(), alike.tolist()


def test_every_value_is_read() -> None:
    sent = [
        {"event_id": "31198570044-1095275-1", "household_id": 1, "basket_id": 10**17},
        {"quantity": 0, "sales_value": 0.07, "retail_disc": 12, "coupon_disc": 1234.5678},
        {"event_id": "a, b: {c}", "transaction_timestamp": "no time"},
    ]
    rows, alike = read([encode(**changes) for changes in sent])
    assert alike == [True] * 3
    assert rows == [GOOD | changes for changes in sent]


def test_fields_may_stand_in_any_order_that_the_sample_has() -> None:
    other = orjson.dumps(dict(reversed(GOOD.items())))
    assert read([other, encode(), other], other) == ([GOOD, GOOD], [True, False, True])


@pytest.mark.parametrize(
    "sample",
    [b"", b"1", b"[]", encode(note=1), encode(quantity=None)],
    ids=["nothing", "a number", "a list", "a field more", "a field less"],
)
def test_a_sample_with_other_fields_tells_nothing(sample: bytes) -> None:
    assert Layout.of(CONTRACT, sample) is None


@pytest.mark.parametrize(
    "odd",
    [
        *(encode().replace(b'"quantity":1', b'"quantity":' + text) for text in b"-1 01 +1 1.0 1e0 0x1 null".split()),
        *(encode().replace(b'"quantity":1', b'"quantity":' + text) for text in (b"", b" 1", b"1" * 19, b'"1"')),
        *(encode().replace(b":0.5", b":" + text) for text in b"-0.5 .5 5. 00.5 5e-1 0.5.5 NaN Infinity 0x1p3".split()),
        encode(event_id="caf\u00e9"),
        encode(event_id="a\nb"),
        encode(event_id='a"b'),
        encode(event_id="a\\b"),
        encode().replace(b"-1095275-", b"-\x00-"),
        encode().replace(b"-1095275-", b"-\xff-"),
        encode(note=1),
        encode(quantity=None),
        encode().replace(b",", b", "),
        encode() + b"\n",
        b" " + encode(),
        encode().replace(b'"quantity":1', b'"quantity":1,"quantity":1'),
        encode().replace(b'"quantity":1', b'"quantities"1'),
        orjson.dumps(dict(reversed(GOOD.items()))),
    ],
)
def test_what_is_written_otherwise_is_left_to_others(odd: bytes) -> None:
    assert read([encode(), odd, encode()]) == ([GOOD, GOOD], [True, False, True])
    assert read([odd, encode(), odd]) == ([GOOD], [False, True, False])


def test_a_record_that_is_cut_off_anywhere_is_left_to_others() -> None:
    whole = encode()
    for size in range(len(whole)):
        assert read([whole, whole[:size]]) == ([GOOD], [True, False])
        assert read([whole[size:] if size else b"", whole]) == ([GOOD], [False, True])


def test_a_slice_of_a_column_is_read_as_such() -> None:
    layout = Layout.of(CONTRACT, encode())
    assert layout is not None
    records = pa.array([encode(quantity=number) for number in range(9)], pa.large_binary())
    columns, alike = layout.read(records.slice(3, 4))
    assert columns["quantity"].to_pylist() == [3, 4, 5, 6]
    assert alike.all()


def test_nothing_is_read_of_no_records() -> None:
    assert read([]) == ([], [])
