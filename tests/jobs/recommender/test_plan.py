"""What a training may be asked, and under which key it resumes."""

import dataclasses
import datetime as dt
from typing import Any

import pytest

from include.jobs.recommender.plan import PlanError, TrainingPlan

PLAN = TrainingPlan(
    train_cutoffs=(dt.date(2017, 9, 1), dt.date(2017, 10, 1)),
    validation_cutoff=dt.date(2017, 11, 1),
    serving_cutoff=dt.date(2017, 12, 1),
    timezone="America/New_York",
    epochs=4,
    patience=2,
    batch_rows=100,
    learning_rate=0.01,
    layers=(8, 4),
    seed=1,
)
SNAPSHOTS = {"features.interactions": 1, "sales.transactions": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_cutoffs": ()}, "at least one cutoff"),
        ({"train_cutoffs": (dt.date(2017, 9, 1),) * 2}, "each once"),
        ({"train_cutoffs": (dt.date(2017, 9, 2),)}, "2017-09-02 is no first day of a month"),
        ({"train_cutoffs": (dt.date(2017, 11, 1),)}, "labels up to 2017-12-01, which reach past the validation cutoff"),
        ({"validation_cutoff": dt.date(2017, 10, 1)}, "reach past the validation cutoff 2017-10-01"),
        ({"serving_cutoff": dt.date(2017, 11, 1)}, "lies within the validation month"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch_rows": 0}, "batch_rows must be at least 1"),
        ({"learning_rate": 0.0}, "learning rate must be above 0"),
        ({"learning_rate": float("nan")}, "learning rate must be above 0"),
        ({"layers": (8, 0)}, "must be positive widths"),
        ({"timezone": "Mars/Olympus"}, "unknown time zone 'Mars/Olympus'"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        dataclasses.replace(PLAN, **change)


def test_a_repeated_try_has_the_same_key() -> None:
    identity = {"run_id": "a", "image": "i"}
    assert PLAN.run_key(SNAPSHOTS, 2, identity) == dataclasses.replace(PLAN).run_key(dict(SNAPSHOTS), 2, dict(identity))


def test_whatever_determines_the_result_changes_the_key() -> None:
    identity = {"run_id": "a"}
    keys = {
        PLAN.run_key(SNAPSHOTS, 2, identity),
        PLAN.run_key(SNAPSHOTS, 4, identity),
        PLAN.run_key(SNAPSHOTS | {"sales.transactions": 3}, 2, identity),
        PLAN.run_key(SNAPSHOTS, 2, {"run_id": "b"}),
        dataclasses.replace(PLAN, seed=2).run_key(SNAPSHOTS, 2, identity),
        dataclasses.replace(PLAN, epochs=5).run_key(SNAPSHOTS, 2, identity),
    }
    assert len(keys) == 6


def test_parameters_are_all_settings_as_text() -> None:
    parameters = PLAN.parameters()
    assert set(parameters) == {field.name for field in dataclasses.fields(PLAN)}
    assert parameters["train_cutoffs"] == "2017-09-01,2017-10-01"
    assert parameters["layers"] == "8,4"
