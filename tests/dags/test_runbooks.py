"""The commands in runbooks and READMEs work as they stand: each is held against what would parse it."""

import argparse
import importlib
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "k8s/README.md", "benchmarks/README.md")
PROGRAMS = ("make", "airflow")
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def commands(text: str) -> Iterator[str]:
    """The commands of a Markdown text: indented, fenced or within a line, each as one line."""
    joined = re.sub(r"\\\n\s*", " ", text)
    # What is quoted may go on in the next line.
    joined = re.sub(r"'[^'\n]*\n[^'\n]*'", lambda match: re.sub(r"\s*\n\s*", " ", match[0]), joined)
    inline = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", joined, flags=re.DOTALL))
    blocks = [line for block in re.findall(r"```sh\n(.*?)```", joined, re.DOTALL) for line in block.splitlines()]
    indented = re.findall(r"^ {4,}(\S.*)$", re.sub(r"```.*?```", "", joined, flags=re.DOTALL), re.MULTILINE)
    for found in (*inline, *blocks, *indented):
        if re.match(rf"({'|'.join(PROGRAMS)}) [a-z]", found):
            yield found


@pytest.fixture(scope="module")
def bag() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(ROOT / "dags"))


class Parsed(Exception):
    """A job has understood its command line."""


def check_job(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    job, *arguments = words
    module = importlib.import_module(f"include.jobs.{job}.__main__")
    parse_args = argparse.ArgumentParser.parse_args

    def parse(parser: argparse.ArgumentParser, *given: Any) -> Any:
        parse_args(parser, *given)
        raise Parsed

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse)
        patch.setattr(sys, "argv", ["job", *arguments])
        with pytest.raises((Parsed, SystemExit)) as ended:
            module.main()
    # Help is an end, too.
    assert ended.type is Parsed or ended.value.code == 0, " ".join(words)


def check_airflow(words: list[str], bag: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.cli.cli_parser import get_parser
    from airflow.serialization.serialized_objects import DagSerialization

    parsed = get_parser().parse_args(words)
    dag = bag.dags[parsed.dag_id]
    if conf := getattr(parsed, "conf", None):
        given = json.loads(conf)
        DagSerialization.from_dict(DagSerialization.to_dict(dag)).params.deep_merge(given).validate()
        if parsed.dag_id == "run_job":
            check_job([given["job"], *given["arguments"]], monkeypatch)


def check(command: str, bag: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """:raises AssertionError: it would not be understood; also what the parsers raise."""
    program, *words = shlex.split(command, comments=True)
    if program == "airflow":
        check_airflow(words, bag, monkeypatch)
        return
    for target in [word for word in words if re.fullmatch(r"[a-z-]+", word)]:
        assert target in TARGETS, command
    given = dict(word.split("=", 1) for word in words if "=" in word)
    # `…` stands for any, where it is all there is.
    arguments = shlex.split(given.get("ARGS", ""))
    if words[0] == "airflow" and arguments != ["…"]:
        check_airflow(arguments, bag, monkeypatch)
    elif words[0] == "job" and arguments:
        check_job(arguments, monkeypatch)


@pytest.mark.parametrize("name", READMES)
def test_commands_of_the_readmes(name: str, bag: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(commands((ROOT / name).read_text()))
    assert found
    for command in found:
        check(command, bag, monkeypatch)


def test_commands_of_the_runbooks(bag: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(dag_id, command) for dag_id, dag in bag.dags.items() for command in commands(dag.doc_md)]
    assert {dag_id for dag_id, _ in found} >= {
        "ingest_transactions",
        "ingest_inventory",
        "replay_quarantine",
        "run_job",
    }
    for _, command in found:
        if command != "airflow backfill create":
            check(command, bag, monkeypatch)


def test_no_runbook_leaves_a_command_to_be_run_somehow_in_a_pod(bag: Any) -> None:
    for dag in bag.dags.values():
        assert "in a pod of the image" not in dag.doc_md
        assert not re.findall(r"`python -m include[^`<]*`", dag.doc_md)
