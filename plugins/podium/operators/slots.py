"""The slots of a GPU pool for operators that are mapped.

Airflow gives all instances of a mapped task one pool and one number of slots, which it takes from the arguments of
`partial`: an operator's constructor, which knows what its GPUs cost, runs only in the task. So `partial` counts them.
"""

import inspect
from collections.abc import Iterable, Mapping
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.definitions.mappedoperator import OperatorPartial

from podium.errors import MappedSlotsError, UnknownNodePoolError
from podium.node_pools import Placement
from podium.platform import settings

if TYPE_CHECKING:
    from airflow.sdk.definitions._internal.expandinput import ExpandInput
    from airflow.sdk.definitions.mappedoperator import MappedOperator

NODE_POOL = "node_pool"


class TakesSlots:
    """An operator whose task takes slots of the Airflow pool of its node pool: as many as it uses GPUs.

    A child names in `gpu_arguments` the arguments whose product that is.
    """

    gpu_arguments: ClassVar[tuple[str, ...]]

    @classmethod
    def partial(cls, **arguments: Any) -> OperatorPartial:
        """As Airflow has it, with pool and slots by the node pool and the GPUs.

        :raises UnknownNodePoolError: the settings do not have the node pool.
        :raises MappedSlotsError: on `expand` of an argument that decides on the pool or its slots.
        """
        made: OperatorPartial = super().partial(**arguments)  # type: ignore[misc]
        # Another one takes its place.
        made._expand_called = True
        given = {**_default_args(made, arguments), **arguments}
        values = {name: given.get(name, _default(cls, name)) for name in (NODE_POOL, *cls.gpu_arguments)}
        pool, counts = values.pop(NODE_POOL), list(values.values())
        kwargs = dict(made.kwargs)
        # What is not known yet is to be mapped, which is refused then.
        if pool is not None and None not in counts and prod(counts):
            if pool not in settings().node_pools:
                raise UnknownNodePoolError(pool, sorted(settings().node_pools))
            own = {name: given[name] for name in ("pool", "pool_slots") if name in given}
            kwargs |= {"pool": pool, "pool_slots": prod(counts)} | own
        return _Partial(operator_class=made.operator_class, kwargs=kwargs, params=made.params)

    @staticmethod
    def with_slots(placement: Placement, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Constructor arguments with the pool and the slots of a placement, where they do not name others.

        :raises MappedSlotsError: they take fewer slots of the pool than the placement has GPUs: a mapped task got its
            GPUs from what it is mapped over.
        """
        merged = placement.airflow_pool | dict(arguments)
        total = placement.airflow_pool.get("pool_slots", 0)
        if merged.get("pool") == placement.pool and merged.get("pool_slots", 1) < total:
            raise MappedSlotsError(str(merged.get("task_id")), ["its GPUs"])
        return merged


class _Partial(OperatorPartial):
    """Refuses to map what decides on the pool or its slots."""

    def _expand(self, expand_input: "ExpandInput", *, strict: bool) -> "MappedOperator":
        fixed = {NODE_POOL, *self.operator_class.gpu_arguments}  # type: ignore[attr-defined]
        if mapped := sorted(fixed & _mapped(expand_input.value)):
            self._expand_called = True
            raise MappedSlotsError(self.kwargs["task_id"], mapped)
        return super()._expand(expand_input, strict=strict)


def _mapped(value: Any) -> set[str]:
    """The arguments that are mapped, as far as they are known at parse time."""
    if isinstance(value, Mapping):
        return set(value)
    rows: Iterable[Any] = value if isinstance(value, (list, tuple)) else ()
    return {name for row in rows if isinstance(row, Mapping) for name in row}


def _default_args(made: OperatorPartial, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the DAG, of the task group and of the task itself, the nearest last."""
    owners = (made.kwargs.get("dag"), made.kwargs.get("task_group"))
    found: dict[str, Any] = {}
    for owner in owners:
        found |= getattr(owner, "default_args", None) or {}
    return found | (arguments.get("default_args") or {})


def _default(cls: type, name: str) -> Any:
    """What an argument of the constructor is when it is not given; None where it must be."""
    for base in cls.__mro__:
        own = vars(base).get("__init__")
        parameter = inspect.signature(own).parameters.get(name) if own else None
        if parameter is not None:
            return None if parameter.default is inspect.Parameter.empty else parameter.default
    return None
