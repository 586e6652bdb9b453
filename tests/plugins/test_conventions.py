"""What users of any Airflow provider expect of an operator: documented arguments, template fields, links."""

import importlib
import inspect
import pkgutil
import re

import podium.operators
import pytest
from airflow.sdk import BaseOperator


def operators() -> list[type[BaseOperator]]:
    found: dict[str, type[BaseOperator]] = {}
    for module in pkgutil.iter_modules(podium.operators.__path__):
        for member in vars(importlib.import_module(f"podium.operators.{module.name}")).values():
            is_operator = inspect.isclass(member) and issubclass(member, BaseOperator)
            if is_operator and member.__module__.startswith("podium."):
                found[member.__name__] = member
    return [found[name] for name in sorted(found)]


EVERY = pytest.mark.parametrize("operator", operators(), ids=lambda operator: operator.__name__)


@EVERY
def test_every_argument_is_documented(operator: type[BaseOperator]) -> None:
    parameters = inspect.signature(inspect.unwrap(operator.__init__)).parameters.values()
    named = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)} - {"self"}
    texts = "\n".join(base.__doc__ or "" for base in operator.__mro__ if base.__module__.startswith("podium."))
    assert named - set(re.findall(r":param (\w+):", texts)) == set()


@EVERY
def test_template_fields_are_arguments_or_set_from_them(operator: type[BaseOperator]) -> None:
    bases = [base for base in operator.__mro__ if base.__module__.startswith(("podium.", "airflow.providers."))]
    source = "\n".join(inspect.getsource(base) for base in bases)
    assert [name for name in operator.template_fields if not re.search(rf"self\.{name}\b[^=\n]* = ", source)] == []


@EVERY
def test_links_have_names_of_their_own(operator: type[BaseOperator]) -> None:
    names = [link.name for link in operator.operator_extra_links]
    assert len(names) == len(set(names))


def test_everything_is_there() -> None:
    assert {
        "ArgoWorkflowOperator", "CustomResourceOperator", "InferenceServiceOperator", "KatibExperimentOperator",
        "MPIJobOperator", "PodiumPodOperator", "PodiumSparkOperator", "TrainJobOperator",
    } <= {operator.__name__ for operator in operators()}  # fmt: skip
