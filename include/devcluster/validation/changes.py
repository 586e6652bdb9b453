"""What may change in an object that is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from include.devcluster.core.objects import Object
from include.devcluster.validation import services
from include.devcluster.validation.rules import Cause, forbidden, invalid

_POD = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_FREE = ("activeDeadlineSeconds", "tolerations", "schedulingGates")
_IMMUTABLE = "field is immutable when `immutable` is set"


def pod(old: Object, new: Object) -> Iterator[Cause]:
    """A pod: images, the deadline, more tolerations, fewer gates; before it is scheduled its selector too."""
    was, now = old["spec"], new["spec"]
    for field in ("containers", "initContainers"):
        if len(was.get(field) or []) != len(now.get(field) or []):
            yield forbidden(f"spec.{field}", "pod updates may not add or remove containers")
            return
    wrong = list(_deadline(was.get("activeDeadlineSeconds"), now.get("activeDeadlineSeconds")))
    yield from wrong
    if wrong and now.get("activeDeadlineSeconds") is not None:
        return
    yield from _tolerations(was.get("tolerations") or [], now.get("tolerations") or [])
    held = {gate["name"] for gate in was.get("schedulingGates") or []}
    for place, gate in enumerate(now.get("schedulingGates") or []):
        if gate.get("name") not in held:
            yield forbidden(
                f"spec.schedulingGates[{place}]",
                "only deletion is allowed, but found new scheduling gate '{}'".format(gate.get("name")),
            )
    selector = now.get("nodeSelector") or {}
    is_gated = bool(held)
    if is_gated and not (was.get("nodeSelector") or {}).items() <= selector.items():
        yield invalid(
            "spec.nodeSelector", selector, "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        )
    if _fixed(was, is_gated) != _fixed(now, is_gated):
        yield forbidden("spec", _POD)


def _deadline(was: int | None, now: int | None) -> Iterator[Cause]:
    path = "spec.activeDeadlineSeconds"
    if now is None and was is not None:
        yield invalid(path, None, "must not update from a positive integer to nil value")
    elif now is not None and not 0 <= now < 2**31:
        yield invalid(path, now, f"must be between 0 and {2**31 - 1}, inclusive")
    elif now is not None and was is not None and now > was:
        yield invalid(path, now, "must be less than or equal to previous value")


def _tolerations(was: list[Object], now: list[Object]) -> Iterator[Cause]:
    def bare(toleration: Object) -> Object:
        return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}

    if not all(any(bare(kept) == bare(one) for kept in now) for one in was):
        yield forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")


def _fixed(spec: Object, is_gated: bool) -> Object:
    free = (*_FREE, "nodeSelector", "affinity") if is_gated else _FREE
    kept: Object = {key: value for key, value in spec.items() if key not in free}
    for field in ("initContainers", "containers"):
        kept[field] = [{k: v for k, v in c.items() if k != "image"} for c in spec.get(field) or []]
    return kept


def frozen(old: Object, new: Object) -> Iterator[Cause]:
    """A ConfigMap or Secret that was made immutable."""
    if old.get("immutable"):
        if not new.get("immutable"):
            yield forbidden("immutable", _IMMUTABLE)
        for field in ("data", "binaryData"):
            if old.get(field) != new.get(field):
                yield forbidden(field, _IMMUTABLE)


def _secret(old: Object, new: Object) -> Iterator[Cause]:
    if old.get("type") != new.get("type"):
        yield invalid("type", new.get("type") or "", "field is immutable")
    yield from frozen(old, new)


def _priority_class(old: Object, new: Object) -> Iterator[Cause]:
    if old.get("value", 0) != new.get("value", 0):
        yield forbidden("value", "may not be changed in an update.")
    if old.get("preemptionPolicy") != new.get("preemptionPolicy"):
        yield invalid("preemptionPolicy", new.get("preemptionPolicy") or "", "field is immutable")


def _claim(old: Object, new: Object) -> Iterator[Cause]:
    def fixed(obj: Object) -> Any:
        return {
            key: value
            for key, value in (obj.get("spec") or {}).items()
            if key not in ("resources", "volumeAttributesClassName")
        }

    if fixed(old) != fixed(new):
        yield forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        )


BY_KIND: dict[str, Callable[[Object, Object], Iterator[Cause]]] = {
    "Pod": pod, "ConfigMap": frozen, "Secret": _secret, "Service": services.change_causes, "PriorityClass": _priority_class,  # noqa: E501
    "PersistentVolumeClaim": _claim,
}  # fmt: skip
