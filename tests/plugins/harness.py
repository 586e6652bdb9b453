"""Runs an operator as Airflow does: deferral, the trigger in an event loop, a fresh operator to resume with."""

import asyncio
import datetime as dt
import json
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import TaskDeferred
from podium.collected import Collected, Record
from podium.platform import settings

Factory = Callable[[], BaseOperator]


class Store(dict[str, Any]):
    """The task-state store, which the attempts of a task share."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))


@dataclass
class Ti:
    """A task instance without a server."""

    task_id: str
    dag_id: str = "dag"
    run_id: str = "manual__1"
    map_index: int = -1
    try_number: int = 1
    max_tries: int = 1
    start_date: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    xcom: dict[str, Any] = field(default_factory=dict)
    store: "Store" = field(default_factory=lambda: Store())
    clears: int = 0

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcom[key] = value

    def retried(self) -> "Ti":
        """The next attempt."""
        again = Ti(self.task_id, self.dag_id, self.run_id, self.map_index, self.try_number + 1, self.max_tries)
        again.store, again.clears = self.store, self.clears
        return again

    def cleared(self, retries: int = 1) -> "Ti":
        """The attempt after somebody cleared the finished task."""
        again = self.retried()
        again.max_tries = self.try_number + retries
        again.clears += 1
        return again


def context_of(ti: Ti) -> Any:
    return {
        "ti": ti,
        "task_instance": ti,
        "run_id": ti.run_id,
        "dag": SimpleNamespace(dag_id=ti.dag_id),
        "outlet_events": {},
        "task_state_store": ti.store,
        "dag_run": SimpleNamespace(clear_number=ti.clears),
    }


def call(operator: BaseOperator, method: str, ti: Ti, **arguments: Any) -> Any:
    """Call a method of an operator as a task does."""
    context = context_of(ti)
    operator.render_template_fields(context)

    def inside() -> Any:
        ExecutorSafeguard.tracker.set(operator)
        return getattr(operator, method)(context, **arguments)

    return copy_context().run(inside)


def begin(factory: Factory, ti: Ti) -> TaskDeferred | Any:
    """Execute up to the first wait."""
    operator = factory()
    try:
        return _pushed(operator, call(operator, "execute", ti))
    except TaskDeferred as deferred:
        return deferred


def _pushed(operator: BaseOperator, result: Any) -> Any:
    """What others see of a result."""
    return result if operator.do_xcom_push else None


def trigger_of(deferred: TaskDeferred) -> Any:
    """The trigger as a triggerer has it: made again from what was stored."""
    path, arguments = deferred.trigger.serialize()
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)(**arguments)


def fire(deferred: TaskDeferred) -> Any:
    """Run the trigger until its event."""

    async def first() -> Any:
        async for event in trigger_of(deferred).run():
            return event.payload
        raise AssertionError("the trigger ended without an event")

    return asyncio.run(first())


def finish(factory: Factory, ti: Ti, deferred: TaskDeferred | Any) -> Any:
    """Go on from a wait to the end."""
    while isinstance(deferred, TaskDeferred):
        event, operator = fire(deferred), factory()
        try:
            deferred = _pushed(
                operator, call(operator, deferred.method_name, ti, event=event, **(deferred.kwargs or {}))
            )
        except TaskDeferred as again:
            deferred = again
    return deferred


def run(factory: Factory, ti: Ti) -> Any:
    """Execute to the end; returns the result."""
    return finish(factory, ti, begin(factory, ti))


def call_with(operator: BaseOperator, context: Any) -> Any:
    """Execute an operator in a context of the test's own."""

    def inside() -> Any:
        ExecutorSafeguard.tracker.set(operator)
        return operator.execute(context)

    return copy_context().run(inside)


def before_looking(monkeypatch: pytest.MonkeyPatch, reader: type, happens: Callable[[], object]) -> None:
    """Have something happen just before the next look at the work in the cluster, by `reader.read`."""
    read = reader.read  # type: ignore[attr-defined]

    def first(*arguments: Any) -> Any:
        monkeypatch.setattr(reader, "read", read)
        happens()
        return read(*arguments)

    monkeypatch.setattr(reader, "read", first)


def after_asking(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Have something happen just after the next look for what another attempt has collected."""
    read = Collected.read

    def first(collected: Collected) -> Record | None:
        found = read(collected)
        monkeypatch.setattr(Collected, "read", read)
        happens()
        return found

    monkeypatch.setattr(Collected, "read", first)


def collected_beside(monkeypatch: pytest.MonkeyPatch, make: Factory, ti: Ti) -> tuple[Any, Any, Any]:
    """Two attempts collect the same work: one does all of it just after the other has asked whether that was done.

    Returns the other's operator, its result, and that of the first.
    """
    deferred = begin(make, ti)
    event, results = fire(deferred), []
    after_asking(monkeypatch, lambda: results.append(call(make(), deferred.method_name, ti, event=event)))
    other = make()
    found = call(other, deferred.method_name, ti.retried(), event=event)
    (result,) = results
    return other, found, result


class Refused(Exception):
    """What the task-state store says to an attempt that was superseded."""


def refuse(monkeypatch: pytest.MonkeyPatch, after: int = 0) -> None:
    """Have the task-state store answer as it answers an attempt that was superseded: it knows nothing, keeps nothing.

    :param after: so many writes are taken before; the first attempt writes twice before it makes its work.
    """
    keep, written = Store.set, 0

    def refusing(store: Store, key: str, value: Any) -> None:
        nonlocal written
        written += 1
        if written > after:
            raise Refused
        keep(store, key, value)

    monkeypatch.setattr(Store, "set", refusing)
    monkeypatch.setattr(Store, "get", lambda *_: None)


def defer_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pod tasks deferred after a second."""
    own = settings()
    soon = own.model_copy(update={"airflow": own.airflow.model_copy(update={"defer_after_s": 1})})
    monkeypatch.setattr("podium.operators.pod.settings", lambda: soon)
