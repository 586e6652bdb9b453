"""The suite of expectations on an interval, derived from the contract, and the judging of rows by it."""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from include.jobs.ingest.contract import Contract, ContractError, Reference
from include.jobs.ingest.frames import frame_of

# Read when the package is imported: judging data must not talk to anybody.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")


_NAMING_COLUMNS = ("column", "column_A", "column_B")
#: Rows from which on a distribution, or a share of rows, is judged where the suite says nothing else: of so many the
#: share of stragglers that every topic may have is one.
_MIN_ROWS = 20
#: These tell something of all rows together, of which few rows tell nothing; so does any with `mostly`.
_OF_DISTRIBUTIONS = frozenset(
    {
        "expect_column_distinct_values_to_contain_set",
        "expect_column_distinct_values_to_equal_set",
        "expect_column_kl_divergence_to_be_less_than",
        "expect_column_mean_to_be_between",
        "expect_column_median_to_be_between",
        "expect_column_most_common_value_to_be_in_set",
        "expect_column_proportion_of_non_null_values_to_be_between",
        "expect_column_proportion_of_unique_values_to_be_between",
        "expect_column_quantile_values_to_be_between",
        "expect_column_stdev_to_be_between",
        "expect_column_sum_to_be_between",
        "expect_column_unique_value_count_to_be_between",
        "expect_column_value_z_scores_to_be_less_than",
    }
)
#: These look at missing values: to them a row without one is a row.
_OF_NULLS = frozenset(
    {
        "expect_column_proportion_of_non_null_values_to_be_between",
        "expect_column_values_to_be_null",
        "expect_column_values_to_not_be_null",
    }
)
#: What is missing is compared with nothing, as it is in SQL.
_IGNORED = {
    "expect_column_pair_": "either_value_is_missing",
    "expect_multicolumn_sum_": "any_value_is_missing",
}


def _expect(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs}


#: $start and $end are the interval's bounds, $within the share of rows that must lie between them: stragglers may
#: belong to an earlier interval, and a producer's clock may run ahead.
_OF_EVERY_TOPIC = (
    _expect("expect_compound_columns_to_be_unique", column_list=["kafka_partition", "kafka_offset"]),
    _expect(
        "expect_column_values_to_be_between",
        column="event_time",
        min_value="$start",
        max_value="$end",
        strict_max=True,
        mostly="$within",
    ),
)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of a suite.

    Attributes:
        entries: one `{expectation, column, success, expected, observed}` per expectation that was judged.
        skipped: one `{expectation, column, rows, min_rows}` per expectation that too few rows had a value for.
    """

    entries: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite: expectations as data, with `$name` where a value of the interval goes.

    An expectation is judged when at least its `min_rows` rows have a value in all the columns that it names. Without
    one that is 1, so that a column nobody sends yet is judged once somebody does; of a distribution, or a share of rows
    (`mostly` below 1), it is the suite's `min_rows`. With 0 it is judged whatever is there.

    Each of `references` has an expectation on a column of its own, `referring(reference)`, which is true where the
    value stands in the other table: the rows that are judged must have these columns too.
    """

    name: str
    sample_rows: int
    expectations: tuple[dict[str, Any], ...]
    references: tuple[Reference, ...] = ()
    min_rows: int = _MIN_ROWS

    @classmethod
    def of(cls, contract: Contract) -> Self:
        """The suite of a contract: what holds for every topic, its unique events, and what it lists under `suite`.

        Raises:
            ContractError: what it lists is no suite.
        """
        try:
            own = [_own(item) for item in contract.suite["expectations"]]
            unique = _unique(contract.duplicates.key) if contract.duplicates else []
            known = [
                _expect(
                    "expect_column_values_to_be_in_set", column=referring(item), value_set=[True], mostly=item.mostly
                )
                for item in contract.references
            ]
            expectations = (*unique, *known, *_OF_EVERY_TOPIC, *own)
            return cls(
                contract.name,
                int(contract.suite["sample_rows"]),
                expectations,
                contract.references,
                int(contract.suite.get("min_rows", _MIN_ROWS)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ContractError(
                f"the suite of contract {contract.name} cannot be used: {type(error).__name__}: {error}"
            ) from error

    @property
    def columns(self) -> list[str]:
        """The table's columns that the suite looks at, sorted."""
        found = {reference.field for reference in self.references}
        for item in self.expectations:
            found.update(_columns(item["kwargs"]))
        return sorted(found - {referring(reference) for reference in self.references})

    @property
    def unique(self) -> list[list[str]]:
        """The columns, or several together, that are expected to be unique."""
        named = {"expect_column_values_to_be_unique": "column", "expect_compound_columns_to_be_unique": "column_list"}
        found = [item["kwargs"][named[item["type"]]] for item in self.expectations if item["type"] in named]
        return [[columns] if isinstance(columns, str) else list(columns) for columns in found]

    def judge(self, rows: pa.Table, values: Mapping[str, Any]) -> Judgement:
        """Judge rows as they are in the table; `values` fill the suite's `$name`s.

        Raises:
            ContractError: the suite names an expectation, a column or a value that does not exist.
        """
        judged: list[dict[str, Any]] = []
        skipped: list[dict[str, Any]] = []
        for item in self.expectations:
            there = _rows_with_values(item, rows, self.name)
            wanted = self._wanted(item)
            if there >= wanted:
                judged.append(item)
            else:
                skipped.append(
                    {
                        "expectation": item["type"],
                        "column": _column(item["kwargs"]),
                        "rows": there,
                        "min_rows": wanted,
                    }
                )
        return Judgement(self._judged(judged, rows, values) if judged else [], skipped)

    def _wanted(self, item: Mapping[str, Any]) -> int:
        """From how many rows on an expectation is judged."""
        if "min_rows" in item:
            return int(item["min_rows"])
        mostly = item["kwargs"].get("mostly", 1)
        if item["type"] in _OF_DISTRIBUTIONS or isinstance(mostly, str) or mostly < 1:
            return self.min_rows
        return 1 if any(_columns(item["kwargs"])) else 0

    def _judged(
        self, expectations: list[dict[str, Any]], rows: pa.Table, values: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        logging.getLogger("great_expectations").setLevel(logging.WARNING)
        # Imported here, because it takes seconds: the rest of the image must not pay for it.
        from great_expectations.core.expectation_suite import ExpectationSuite
        from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

        try:
            suite = ExpectationSuite(
                name=self.name,
                expectations=[
                    ExpectationConfiguration(
                        type=item["type"], kwargs=_ignoring(item["type"]) | _fill(item["kwargs"], values)
                    ).to_domain_obj()
                    for item in expectations
                ],
            )
        except Exception as error:  # its own errors have no common base
            raise ContractError(f"the suite of contract {self.name} cannot be used: {error}") from error
        outcome = _whole_frame().get_batch({"dataframe": frame_of(rows)}).validate(suite, result_format="SUMMARY")
        for result in outcome.results:
            # It cannot write down all that pandas finds.
            result.result = _plain(result.result)
        return [_entry(result.to_json_dict()) for result in outcome.results]


def _unique(key: Sequence[str]) -> list[dict[str, Any]]:
    """The ingest has seen to it: a second pair of eyes."""
    if len(key) > 1:
        return [_expect("expect_compound_columns_to_be_unique", column_list=list(key))]
    return [_expect("expect_column_values_to_be_unique", column=key[0])]


def referring(reference: Reference) -> str:
    """The column that tells whether a reference leads somewhere; a person reads it in the page."""
    return f"{reference.field} in {reference.table}"


@cache
def _whole_frame() -> Any:
    """How Great Expectations gets at a data frame; made once, because its context takes longer than judging a day."""
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    source = context.data_sources.add_pandas("interval")
    return source.add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")


def _own(item: Mapping[str, Any]) -> dict[str, Any]:
    """An expectation that a contract lists."""
    if unknown := set(item) - {"type", "kwargs", "min_rows"}:
        raise ValueError(f"{item['type']} has unknown keys: {', '.join(sorted(unknown))}")
    few = {"min_rows": int(item["min_rows"])} if "min_rows" in item else {}
    return {"type": item["type"], "kwargs": dict(item["kwargs"]), **few}


def _columns(kwargs: Mapping[str, Any]) -> list[str]:
    """The columns that an expectation names."""
    return [*kwargs.get("column_list", ()), *(kwargs[key] for key in _NAMING_COLUMNS if key in kwargs)]


def _column(kwargs: Mapping[str, Any]) -> str | list[str] | None:
    """The column that it names, or several."""
    names = _columns(kwargs)
    return names[0] if "column" in kwargs else names or None


def _rows_with_values(item: Mapping[str, Any], rows: pa.Table, suite: str) -> int:
    """How many rows have a value in every column that an expectation names."""
    names = _columns(item["kwargs"])
    if lost := [name for name in names if name not in rows.column_names]:
        raise ContractError(
            f"the suite of contract {suite} cannot be used: {item['type']} names no column: {', '.join(lost)}"
        )
    if item["type"] in _OF_NULLS or not names:
        return int(rows.num_rows)
    there = pc.is_valid(rows[names[0]])
    for name in names[1:]:
        there = pc.and_(there, pc.is_valid(rows[name]))
    return int(pc.sum(there).as_py() or 0)


def _ignoring(kind: str) -> dict[str, str]:
    found = next((rule for start, rule in _IGNORED.items() if kind.startswith(start)), None)
    return {"ignore_row_if": found} if found else {}


def _fill(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, str) and value.startswith("$"):
        return values[value[1:]]
    if isinstance(value, dict):
        return {key: _fill(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, values) for item in value]
    return value


def _entry(result: Mapping[str, Any]) -> dict[str, Any]:
    configuration, outcome = result["expectation_config"], result["result"]
    unsaid = {"batch_id", "column_list", "ignore_row_if", *_NAMING_COLUMNS}
    kwargs = {k: v for k, v in configuration["kwargs"].items() if k not in unsaid}
    trouble = [item["exception_message"] for item in _exceptions(result.get("exception_info", {}))]
    keys = ("observed_value", "unexpected_count", "unexpected_percent", "partial_unexpected_list")
    return {
        "expectation": configuration["type"],
        "column": _column(configuration["kwargs"]),
        "success": bool(result["success"]),
        "expected": _plain(kwargs),
        "observed": {key: _plain(outcome[key]) for key in keys if key in outcome}
        | ({"error": trouble} if trouble else {}),
    }


def _plain(value: Any) -> Any:
    """As JSON has it: NumPy's numbers as Python's, times as text, what is missing as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    # pandas' own nothing, of numbers and of times.
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _exceptions(info: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Exceptions of one expectation: GX gives one, or one a metric."""
    entries = [info] if "raised_exception" in info else list(info.values())
    return [entry for entry in entries if entry.get("raised_exception")]
