"""What the suites of features, gate and drift are tried on is what the contract admits."""

import datetime as dt
from typing import Any

import orjson
from hypothesis import given, settings

from tests.jobs.admitted import fields, records
from tests.jobs.ingest.sales import CONTRACT


def test_all_fields_are_read() -> None:
    assert [field["name"] for field in fields()] == list(CONTRACT.names)


@settings(deadline=None)
@given(records)
def test_every_record_is_admitted(record: dict[str, Any]) -> None:
    written = {
        name: value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, dt.datetime) else value
        for name, value in record.items()
    }
    taken = CONTRACT.check(str(record["household_id"]).encode(), orjson.dumps(written))
    assert dict(zip(CONTRACT.names, taken, strict=True)) == record
