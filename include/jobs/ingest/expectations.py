"""The suite of expectations on an interval, derived from the contract, and the judging of rows by it."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Self

from include.jobs.ingest.contract import Contract, ContractError, Reference

if TYPE_CHECKING:
    import pandas as pd

# Read when the package is imported: judging data must not talk to anybody.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")


_NAMING_COLUMNS = ("column", "column_A", "column_B")


def _expect(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs}


#: $start and $end are the interval's bounds. Stragglers may belong to an earlier interval, but only few; nothing may
#: lie past the end.
_OF_EVERY_TOPIC = (
    _expect("expect_compound_columns_to_be_unique", column_list=["kafka_partition", "kafka_offset"]),
    _expect(
        "expect_column_values_to_be_between",
        column="event_time",
        min_value="$start",
        max_value="$end",
        strict_max=True,
        mostly=0.95,
    ),
    _expect("expect_column_max_to_be_between", column="event_time", max_value="$end"),
)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of a suite.

    `entries` has one `{expectation, column, success, expected, observed}` per expectation; `page` is the same as a page
    of Data Docs (HTML), empty when nothing was judged.
    """

    entries: list[dict[str, Any]]
    page: str


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite: expectations as data, with `$name` where a value of the interval goes.

    Each of `references` has an expectation on a column of its own, `referring(reference)`, which is true where the
    value stands in the other table: the rows that are judged must have these columns too.
    """

    name: str
    sample_rows: int
    expectations: tuple[dict[str, Any], ...]
    references: tuple[Reference, ...] = ()

    @classmethod
    def of(cls, contract: Contract) -> Self:
        """The suite of a contract: what holds for every topic, its unique fields, and what it lists under `suite`.

        Raises:
            ContractError: what it lists is no suite.
        """
        try:
            own = [{"type": item["type"], "kwargs": dict(item["kwargs"])} for item in contract.suite["expectations"]]
            unique = [_expect("expect_column_values_to_be_unique", column=name) for name in contract.unique]
            known = [
                _expect(
                    "expect_column_values_to_be_in_set", column=referring(item), value_set=[True], mostly=item.mostly
                )
                for item in contract.references
            ]
            expectations = (*unique, *known, *_OF_EVERY_TOPIC, *own)
            return cls(contract.name, int(contract.suite["sample_rows"]), expectations, contract.references)
        except (KeyError, TypeError, ValueError) as error:
            raise ContractError(
                f"the suite of contract {contract.name} cannot be used: {type(error).__name__}: {error}"
            ) from error

    @property
    def columns(self) -> list[str]:
        """The table's columns that the suite looks at, sorted."""
        found = {reference.field for reference in self.references}
        for item in self.expectations:
            kwargs = item["kwargs"]
            found.update(kwargs.get("column_list", ()), (kwargs[key] for key in _NAMING_COLUMNS if key in kwargs))
        return sorted(found - {referring(reference) for reference in self.references})

    @property
    def unique(self) -> list[list[str]]:
        """The columns, or several together, that are expected to be unique."""
        named = {"expect_column_values_to_be_unique": "column", "expect_compound_columns_to_be_unique": "column_list"}
        found = [item["kwargs"][named[item["type"]]] for item in self.expectations if item["type"] in named]
        return [[columns] if isinstance(columns, str) else list(columns) for columns in found]

    def judge(self, rows: "pd.DataFrame", values: Mapping[str, Any]) -> Judgement:
        """Judge rows; `values` fill the suite's `$name`s.

        Raises:
            ContractError: the suite names an expectation or value that does not exist.
        """
        logging.getLogger("great_expectations").setLevel(logging.WARNING)
        # Imported here, because it takes seconds: the rest of the image must not pay for it.
        from great_expectations.core.expectation_suite import ExpectationSuite
        from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
        from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
        from great_expectations.render.view.view import DefaultJinjaPageView

        try:
            filled = [(item["type"], _fill(item["kwargs"], values)) for item in self.expectations]
            suite = ExpectationSuite(
                name=self.name,
                expectations=[
                    ExpectationConfiguration(type=kind, kwargs=kwargs).to_domain_obj() for kind, kwargs in filled
                ],
            )
        except Exception as error:  # its own errors have no common base
            raise ContractError(f"the suite of contract {self.name} cannot be used: {error}") from error
        outcome = _whole_frame().get_batch({"dataframe": rows}).validate(suite, result_format="SUMMARY")
        view: Any = DefaultJinjaPageView()
        for result in outcome.results:
            # The page's renderer does not take the numbers of NumPy that pandas has found.
            result.result = _plain(result.result)
        page: str = view.render(ValidationResultsPageRenderer().render(outcome))
        return Judgement([_entry(result.to_json_dict()) for result in outcome.results], page)


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
    kwargs = {k: v for k, v in configuration["kwargs"].items() if k not in ("batch_id", "column", "column_list")}
    trouble = [item["exception_message"] for item in _exceptions(result.get("exception_info", {}))]
    keys = ("observed_value", "unexpected_count", "unexpected_percent", "partial_unexpected_list")
    return {
        "expectation": configuration["type"],
        "column": configuration["kwargs"].get("column") or configuration["kwargs"].get("column_list"),
        "success": bool(result["success"]),
        "expected": _plain(kwargs),
        "observed": {key: _plain(outcome[key]) for key in keys if key in outcome}
        | ({"error": trouble} if trouble else {}),
    }


def _plain(value: Any) -> Any:
    """As JSON has it: NumPy's numbers as Python's, times as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    value = value.item() if hasattr(value, "item") else value
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _exceptions(info: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Exceptions of one expectation: GX gives one, or one a metric."""
    entries = [info] if "raised_exception" in info else list(info.values())
    return [entry for entry in entries if entry.get("raised_exception")]
