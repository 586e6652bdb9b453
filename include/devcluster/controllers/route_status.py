"""What an HTTPRoute asks for, resolved, and the status that tells of it.

https://gateway-api.sigs.k8s.io/reference/spec/#routeparentstatus
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from include.devcluster.controllers.gateway import Backend
from include.devcluster.controllers.gateway_hosts import Entry
from include.devcluster.controllers.gateway_listeners import CONTROLLER_NAME, Verdict, parent_verdict
from include.devcluster.controllers.gateway_routes import entries
from include.devcluster.controllers.objects import Manifest, dated, key_of, shorten
from include.devcluster.controllers.route_spec import ParentRef, ServiceRef, parse, told
from include.devcluster.controllers.service_backends import Surroundings, Unresolved, resolve

MESSAGE_LIMIT = 32768
"""Longest message of a condition (metav1.Condition)."""


@dataclass(frozen=True)
class Plan:
    """What follows from one route.

    :param parents: each parentRef that is for us to judge, as it stands in the spec, with the verdict.
    :param problems: rules and fields that are not served.
    :param unresolved: references that lead nowhere.
    """

    entries: tuple[Entry, ...]
    backends: tuple[Backend, ...]
    parents: tuple[tuple[Manifest, Verdict], ...]
    problems: tuple[str, ...]
    unresolved: tuple[Unresolved, ...]

    @property
    def attached(self) -> bool:
        """Whether a Gateway of ours serves it."""
        return any(verdict.accepted for _, verdict in self.parents)


def plan(
    route: Manifest, gateway: Callable[[tuple[str, str]], Manifest | None], port: int, around: Surroundings
) -> Plan:
    """Read a route and look up what it names.

    :param gateway: a Gateway by namespace and name.
    :param port: that Envoy listens on.
    """
    namespace = key_of(route)[0]
    spec = parse(route)
    refs: list[ServiceRef] = []
    for _, rule in spec.rules:
        refs += [*rule.backend_refs, *(mirror.backend_ref for mirror in rule.mirrors)]
    found = {ref: resolve(ref, namespace, around) for ref in refs}
    backends = {ref: backend for ref, backend in found.items() if isinstance(backend, Backend)}
    matches = entries(route, spec, {ref: backend.cluster for ref, backend in backends.items()})
    parents = [(ref, _parent(ref, namespace, gateway, port)) for ref in route["spec"].get("parentRefs") or []]
    return Plan(
        entries=tuple(matches),
        backends=tuple(backends.values()),
        parents=tuple(
            (ref, _with_rules(verdict, spec.problems, bool(spec.rules))) for ref, verdict in parents if verdict
        ),
        problems=spec.problems,
        unresolved=tuple(dict.fromkeys(each for each in found.values() if isinstance(each, Unresolved))),
    )


def _parent(
    ref: Manifest, namespace: str, gateway: Callable[[tuple[str, str]], Manifest | None], port: int
) -> Verdict | None:
    try:
        parsed = ParentRef.model_validate(ref)
    except ValidationError as error:
        return Verdict(False, "UnsupportedValue", "; ".join(told(error, "parentRef")))
    return parent_verdict(parsed, namespace, gateway, port)


def _with_rules(verdict: Verdict, problems: Sequence[str], any_rule: bool) -> Verdict:
    if verdict.accepted and problems and not any_rule:
        return Verdict(False, "UnsupportedValue", "; ".join(problems))
    return verdict


def status_of(route: Manifest, made: Plan, now: dt.datetime) -> Manifest:
    """The whole status; what other controllers say of their parents stays."""
    before = route.get("status") or {}
    said = before.get("parents") or []
    others = [parent for parent in said if parent["controllerName"] != CONTROLLER_NAME]
    own = []
    for ref, verdict in made.parents:
        old = [p["conditions"] for p in said if p["controllerName"] == CONTROLLER_NAME and p["parentRef"] == ref]
        conditions = dated(_conditions(route, made, verdict), old[0] if old else [], now)
        own.append({"parentRef": ref, "controllerName": CONTROLLER_NAME, "conditions": conditions})
    return {**before, "parents": [*others, *own]} if own or said else before


def _conditions(route: Manifest, made: Plan, verdict: Verdict) -> list[Manifest]:
    generation = route["metadata"]["generation"]
    conditions = [condition("Accepted", verdict.accepted, verdict.reason, verdict.message, generation)]
    why = "; ".join(each.message for each in made.unresolved)
    reason = made.unresolved[0].reason if made.unresolved else "ResolvedRefs"
    conditions.append(condition("ResolvedRefs", not made.unresolved, reason, why, generation))
    if verdict.accepted and made.problems:
        # The spec asks for these first words.
        text = f"Dropped Rule(s): {'; '.join(made.problems)}"
        conditions.append(condition("PartiallyInvalid", True, "UnsupportedValue", text, generation))
    return conditions


def condition(kind: str, holds: bool, reason: str, message: str, generation: int) -> Manifest:
    """A condition as metav1 has it, without its time."""
    return {
        "type": kind,
        "status": "True" if holds else "False",
        "reason": reason,
        "message": shorten(message, MESSAGE_LIMIT),
        "observedGeneration": generation,
    }
