"""What is judged is what is there: every value as the table has it, and of few rows no more than they tell."""

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from include.jobs.ingest.contract import ContractError
from include.jobs.ingest.expectations import Suite
from include.jobs.ingest.frames import frame_of
from tests.jobs.ingest.sales import CONTRACT

#: The first whole number that no float holds.
WIDE = 2**53 + 1
FAR = dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC)
ROWS = pa.table(
    {
        "whole": pa.array([WIDE, WIDE + 1, None, -(2**63), 2**63 - 1], pa.int64()),
        "small": pa.array([1, 2, 3, 4, 5], pa.int32()),
        "number": pa.array([0.5, None, 1e-300, 1e300, 2.5]),
        "text": pa.array(["a", None, "ü", "\x00", "🏀"]),
        "flag": pa.array([True, None, False, True, True]),
        "moment": pa.array([dt.datetime(1, 1, 1, tzinfo=dt.UTC), None, FAR, FAR, FAR], pa.timestamp("us", "UTC")),
        "fine": pa.array([1, None, 2, 3, 2**62], pa.timestamp("ns", "UTC")),
        "day": pa.array([dt.date(1, 1, 1), None, dt.date(9999, 12, 31), dt.date(1970, 1, 1), dt.date(1969, 12, 31)]),
        "money": pa.array([Decimal("0.01"), None, Decimal("123456789012345678.99"), Decimal(1), Decimal(2)]),
        "nobody": pa.nulls(5, pa.int64()),
    }
)


def expect(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs, "min_rows": 1}


def entry(item: dict[str, Any], rows: pa.Table = ROWS) -> dict[str, Any]:
    (found,) = Suite("s", 100, (item,)).judge(rows, {}).entries
    return found


@pytest.mark.parametrize("name", ROWS.column_names)
def test_a_frame_holds_what_the_table_holds(name: str) -> None:
    assert pa.Array.from_pandas(frame_of(ROWS)[name], type=ROWS[name].type) == ROWS[name].combine_chunks()


SOUND = [
    expect("expect_column_values_to_be_unique", column="whole"),
    expect("expect_column_values_to_be_between", column="whole", min_value=-(2**63), max_value=2**63 - 1),
    expect("expect_column_max_to_be_between", column="whole", min_value=2**63 - 1, max_value=2**63 - 1),
    expect("expect_column_values_to_be_in_set", column="whole", value_set=[WIDE, WIDE + 1, -(2**63), 2**63 - 1]),
    expect("expect_column_values_to_not_be_in_set", column="whole", value_set=[2**53, 2**53 + 3]),
    expect("expect_column_unique_value_count_to_be_between", column="whole", min_value=4, max_value=4),
    expect("expect_column_median_to_be_between", column="whole", min_value=2**53, max_value=2**53 + 4),
    expect("expect_column_stdev_to_be_between", column="whole", min_value=1e18),
    expect("expect_column_value_z_scores_to_be_less_than", column="whole", threshold=3, double_sided=True),
    expect("expect_compound_columns_to_be_unique", column_list=["whole", "flag"]),
    expect("expect_column_pair_values_a_to_be_greater_than_b", column_A="small", column_B="whole", mostly=0.2),
    expect("expect_column_pair_values_to_be_equal", column_A="whole", column_B="whole"),
    expect("expect_multicolumn_sum_to_equal", column_list=["small", "flag"], sum_total=5, mostly=0.2),
    expect("expect_select_column_values_to_be_unique_within_record", column_list=["small", "whole"]),
    expect("expect_column_mean_to_be_between", column="number", min_value=1e299, max_value=1e300),
    expect("expect_column_mean_to_be_between", column="money", min_value=3e16, max_value=4e16),
    expect("expect_column_values_to_be_in_set", column="number", value_set=[0.5, 1e-300, 1e300, 2.5]),
    expect("expect_column_values_to_match_regex", column="text", regex="^.$"),
    expect("expect_column_value_lengths_to_equal", column="text", value=1),
    expect("expect_column_values_to_be_in_set", column="flag", value_set=[True, False]),
    expect("expect_column_max_to_be_between", column="moment", max_value=FAR),
    expect("expect_column_values_to_be_between", column="moment", max_value=FAR),
    expect("expect_column_values_to_be_unique", column="fine"),
    expect("expect_column_values_to_be_between", column="day", min_value=dt.date(1, 1, 1)),
    expect("expect_column_values_to_not_be_null", column="whole", mostly=0.8),
    expect("expect_column_values_to_be_null", column="nobody"),
]


@pytest.mark.parametrize("item", SOUND, ids=lambda item: f"{item['type']} {item['kwargs'].get('column', '')}")
def test_what_is_so_is_found_to_be_so(item: dict[str, Any]) -> None:
    found = entry(item)
    assert found["success"], found


UNSOUND = [
    expect("expect_column_values_to_be_in_set", column="whole", value_set=[2**53, 2**53 + 2, -(2**63), 2**63 - 1]),
    expect("expect_column_values_to_be_between", column="whole", max_value=2**62),
    expect("expect_column_values_to_be_between", column="moment", max_value=FAR, strict_max=True),
    expect("expect_column_max_to_be_between", column="fine", max_value=dt.datetime(2000, 1, 1, tzinfo=dt.UTC)),
    expect("expect_column_values_to_be_unique", column="flag"),
    expect("expect_column_pair_values_a_to_be_greater_than_b", column_A="whole", column_B="small"),
]


@pytest.mark.parametrize("item", UNSOUND, ids=lambda item: f"{item['type']} {item['kwargs'].get('column', '')}")
def test_what_is_not_so_is_found_out_and_not_by_an_accident(item: dict[str, Any]) -> None:
    found = entry(item)
    assert not found["success"]
    assert "error" not in found["observed"], found


def sales(*values: float) -> pa.Table:
    return pa.table({"value": pa.array(values, pa.float64()), "nobody": pa.nulls(len(values), pa.int64())})


def mean(**more: Any) -> dict[str, Any]:
    return {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "value", "max_value": 10}, **more}


def test_a_distribution_is_judged_from_so_many_rows_on_and_else_said_to_be_skipped() -> None:
    suite = Suite("s", 100, (mean(),))
    for count in (1, 3, 19):
        judgement = suite.judge(sales(*[50] * count), {})
        assert judgement.entries == []
        assert judgement.skipped == [
            {"expectation": "expect_column_mean_to_be_between", "column": "value", "rows": count, "min_rows": 20}
        ]
    assert [found["success"] for found in suite.judge(sales(*[50] * 20), {}).entries] == [False]
    assert Suite("s", 100, (mean(min_rows=2),)).judge(sales(50, 50), {}).entries
    assert Suite("s", 100, (mean(),), min_rows=2).judge(sales(50, 50), {}).entries


def test_what_holds_for_every_row_holds_for_a_single_one() -> None:
    every = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "value", "max_value": 10}}
    (found,) = Suite("s", 100, (every,)).judge(sales(50), {}).entries
    assert not found["success"]
    mostly = {"type": every["type"], "kwargs": {**every["kwargs"], "mostly": 0.5}}
    assert len(Suite("s", 100, (mostly,)).judge(sales(50), {}).skipped) == 1


@pytest.mark.parametrize(
    "kind",
    [
        "expect_column_mean_to_be_between",
        "expect_column_median_to_be_between",
        "expect_column_max_to_be_between",
        "expect_column_stdev_to_be_between",
    ],
)
def test_a_column_that_nobody_sends_yet_is_judged_once_somebody_does(kind: str) -> None:
    item = {"type": kind, "kwargs": {"column": "nobody", "min_value": 0, "max_value": 10}}
    judgement = Suite("s", 100, (item,)).judge(sales(*[1] * 50), {})
    assert (judgement.entries, [one["rows"] for one in judgement.skipped]) == ([], [0])
    (asked,) = Suite("s", 100, ({**item, "min_rows": 0},)).judge(sales(*[1] * 50), {}).entries
    assert not asked["success"], "somebody may ask for it all the same"


def test_whether_a_column_is_there_is_asked_of_every_row() -> None:
    item = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "nobody"}}
    (found,) = Suite("s", 100, (item,)).judge(sales(1), {}).entries
    assert not found["success"]


def test_a_contract_says_how_many_rows_are_few() -> None:
    own = [{**mean(), "kwargs": {"column": "sales_value", "max_value": 10}, "min_rows": 3}]
    suite = Suite.of(replace(CONTRACT, suite={"sample_rows": 10, "min_rows": 5, "expectations": own}))
    assert (suite.min_rows, suite.expectations[-1]["min_rows"]) == (5, 3)
    own[0]["min_row"] = 3
    with pytest.raises(ContractError, match="expect_column_mean_to_be_between has unknown keys: min_row"):
        Suite.of(replace(CONTRACT, suite={"sample_rows": 10, "expectations": own}))


def test_a_column_that_is_none_is_named() -> None:
    with pytest.raises(ContractError, match="expect_column_values_to_be_unique names no column: nothing"):
        Suite("s", 10, (expect("expect_column_values_to_be_unique", column="nothing"),)).judge(ROWS, {})
