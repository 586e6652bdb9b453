"""What people may give to a DAG by hand: nonsense is refused before anything runs, and nothing becomes an option."""

import re
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Template

DAGS = Path(__file__).parents[2] / "dags"
MOMENT = "2017-03-01T05:00:00Z"
GOOD: dict[str, dict[str, Any]] = {
    "build_features": {"partitions": "all"},
    "erase_household": {"household": "0123456789abcdef" * 2},
    **{
        f"ingest_{name}": {"found_less": "take", "max_bad_fraction": 0.5, "max_stray_fraction": 1}
        for name in ("transactions", "promotions", "inventory")
    },
    "maintain_lake": {"tables": "sales.transactions,features.users"},
    "preflight_backfill": {"topic": "inventory", "from": MOMENT, "to": "2017-04-01T00:00:00-04:00", "reprocess": False},
    "replay_quarantine": {
        "topic": "transactions",
        "start": MOMENT,
        "end": "2017-04-01T04:00:00.000Z",
        "mended": "s3://lake/mended/march.ndjson",
    },
    "run_job": {"job": "ingest", "arguments": ["discard", "--table", "sales.transactions"]},
}
HOSTILE: list[Any] = [
    *("--help", "-h", "$(id)", "`id`", "'; DROP TABLE x; --", "{{ 1 }}", "a b", "\n", "\x00", "../x", "x" * 10_240),
    *(f"{MOMENT}\n", f"{MOMENT} --help", f"{MOMENT},{MOMENT}", "2017-03-01", "2017-03-01T05:00:00"),
    *("2017-13-01T05:00:00Z", "\u0662\u0660\u0661\u0667-03-01T05:00:00Z", "900"),
    *("sales.transactions\n", "sales.transactions --x", "s3://lake/a\n", "s3://lake/a b"),
    *([], {}, ["erase", "--household", "900"], ["a\n"], ["\x1b[2J"], [""], [["--help"]], ["x"] * 41),
    *(900, -1, 1.5, 2**70, None),
]


@pytest.fixture(scope="module")
def bag() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(DAGS))


def accepted(dag: Any, conf: dict[str, Any]) -> Any:
    """The parameters of a run, as the API and the command line take them.

    :raises ValueError: they are refused.
    """
    from airflow.serialization.serialized_objects import DagSerialization

    return DagSerialization.from_dict(DagSerialization.to_dict(dag)).params.deep_merge(conf).validate()


def test_all_dags_with_parameters_are_tested(bag: Any) -> None:
    assert {dag_id: set(dag.params) for dag_id, dag in bag.dags.items() if dag.params} == {
        dag_id: set(conf) for dag_id, conf in GOOD.items()
    }


@pytest.mark.parametrize("dag_id", GOOD)
def test_what_is_meant_is_taken(bag: Any, dag_id: str) -> None:
    assert accepted(bag.dags[dag_id], GOOD[dag_id]) == GOOD[dag_id]


@pytest.mark.parametrize(("dag_id", "name"), [(dag_id, name) for dag_id, conf in GOOD.items() for name in conf])
def test_nonsense_is_refused_by_name(bag: Any, dag_id: str, name: str) -> None:
    taken = []
    for value in HOSTILE:
        try:
            accepted(bag.dags[dag_id], GOOD[dag_id] | {name: value})
            taken.append(value)
        except ValueError as refusal:
            assert re.search(rf"(?s)param.*{name}", str(refusal))  # noqa: PT017 - one of many
    assert taken == []


def test_what_a_template_gives_is_the_value_of_an_option_and_never_an_option(bag: Any) -> None:
    for dag in bag.dags.values():
        for task in dag.tasks:
            for argument in [*(getattr(task, "arguments", None) or ()), *(getattr(task, "command", None) or ())]:
                assert "{{" not in argument or argument.partition("{{")[0].partition("=")[1] == "=", argument


@pytest.mark.parametrize("task_id", ["erase", "prove"])
def test_an_erasure_is_given_the_pseudonym_as_it_is(bag: Any, task_id: str) -> None:
    given = GOOD["erase_household"]
    argument = bag.dags["erase_household"].get_task(task_id).arguments[-1]
    assert Template(argument).render(params=given) == f"--household={given['household']}"
