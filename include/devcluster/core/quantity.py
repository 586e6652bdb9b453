"""Kubernetes quantities: `500m`, `2Gi`, `1e3`."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from include.devcluster.core.objects import Object

_SUFFIX = {
    "": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("0.001"),
    "k": Decimal(1000), "M": Decimal(1000) ** 2, "G": Decimal(1000) ** 3, "T": Decimal(1000) ** 4,
    "P": Decimal(1000) ** 5, "E": Decimal(1000) ** 6,
    "Ki": Decimal(1024), "Mi": Decimal(1024) ** 2, "Gi": Decimal(1024) ** 3, "Ti": Decimal(1024) ** 4,
    "Pi": Decimal(1024) ** 5, "Ei": Decimal(1024) ** 6,
}  # fmt: skip
_QUANTITY = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+))([eE][+-]?\d+|[numkMGTPE]|[KMGTPE]i)?$")

GPU = "nvidia.com/gpu"


def parse(text: str | float) -> Decimal:
    """Value of a quantity. Raises ValueError."""
    match = _QUANTITY.match(str(text))
    if not match:
        raise ValueError(f"{text!r} is not a quantity such as 500m, 2 or 4Gi")
    number, suffix = match[1], match[2] or ""
    try:
        return (
            Decimal(number + suffix)
            if suffix[:1] in ("e", "E") and suffix != "E" and suffix != "Ei"
            else Decimal(number) * _SUFFIX[suffix]
        )
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is not a quantity such as 500m, 2 or 4Gi") from error


def requests(pod: Object) -> dict[str, Decimal]:
    """What a pod asks of its node: the sum of its containers, or its largest init container, and `pods: 1`.

    Init containers that keep running (restartPolicy Always) count with the containers.
    """
    total: dict[str, Decimal] = {}
    peak: dict[str, Decimal] = {}
    for container in pod["spec"].get("initContainers") or []:
        asked = container_requests(container)
        if container.get("restartPolicy") == "Always":
            _add(total, asked)
        peak = {key: max(peak.get(key, Decimal(0)), asked.get(key, Decimal(0))) for key in {*peak, *asked}}
    for container in pod["spec"]["containers"]:
        _add(total, container_requests(container))
    result = {key: max(total.get(key, Decimal(0)), peak.get(key, Decimal(0))) for key in {*total, *peak}}
    _add(result, {key: parse(value) for key, value in (pod["spec"].get("overhead") or {}).items()})
    return {**result, "pods": Decimal(1)}


def container_requests(container: Object) -> dict[str, Decimal]:
    """Requests of a container; a limit without a request is one."""
    resources = container.get("resources") or {}
    return {
        key: parse(v) for key, v in {**(resources.get("limits") or {}), **(resources.get("requests") or {})}.items()
    }


def _add(total: dict[str, Decimal], more: dict[str, Decimal]) -> None:
    for key, value in more.items():
        total[key] = total.get(key, Decimal(0)) + value
