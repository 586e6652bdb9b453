"""Which cutoffs the closed intervals allow."""

import datetime as dt

import pytest

from include.jobs.features.history import Cutoff, HistoryError, complete_months, judge_cutoffs
from include.jobs.lake.ledger import IntervalRecord, Ledger
from tests.jobs.features.shop import ZONE, closed


def day(month: int, number: int = 1) -> dt.date:
    return dt.date(2017, month, number)


def ledger(*records: IntervalRecord) -> Ledger:
    return Ledger({record.interval: record for record in records})


QUARTER = ledger(closed(day(2), day(3)), closed(day(1), day(2)), closed(day(3), day(4)))


def test_a_cutoff_is_labelled_when_its_month_is_complete() -> None:
    assert judge_cutoffs([day(4), day(2)], QUARTER, ZONE) == [
        Cutoff(day(2), day(3), labelled=True),
        Cutoff(day(4), day(5), labelled=False),
    ]
    assert judge_cutoffs([dt.date(2017, 12, 1)], ledger(closed(day(1), dt.date(2018, 1, 1))), ZONE) == [
        Cutoff(dt.date(2017, 12, 1), dt.date(2018, 1, 1), labelled=True)
    ]


@pytest.mark.parametrize("wanted", [day(5), day(1)])
def test_a_cutoff_without_its_past_is_refused(wanted: dt.date) -> None:
    with pytest.raises(HistoryError, match=rf"cutoff {wanted} needs closed intervals .*2017-01-01T05:00:00Z"):
        judge_cutoffs([wanted], QUARTER, ZONE)


def test_a_gap_ends_the_past() -> None:
    gap = ledger(closed(day(1), day(2)), closed(day(3), day(4)))
    assert judge_cutoffs([day(2)], gap, ZONE) == [Cutoff(day(2), day(3), labelled=False)]
    with pytest.raises(HistoryError, match="without a gap"):
        judge_cutoffs([day(4)], gap, ZONE)


def test_what_is_no_cutoff_is_refused() -> None:
    with pytest.raises(HistoryError, match="2017-02-02 is not the first day of a month"):
        judge_cutoffs([day(2, 2)], QUARTER, ZONE)
    with pytest.raises(HistoryError, match="no cutoff was given"):
        judge_cutoffs([], QUARTER, ZONE)
    with pytest.raises(HistoryError, match=r"no interval of sales\.transactions is closed"):
        judge_cutoffs([day(2)], ledger(), ZONE)


def test_complete_months_are_local() -> None:
    assert complete_months(QUARTER, ZONE) == [day(1), day(2), day(3)]
    assert complete_months(ledger(closed(day(1), day(2, 15))), ZONE) == [day(1)]
