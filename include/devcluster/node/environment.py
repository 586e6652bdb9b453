"""A container's environment, command and arguments, as the kubelet works them out."""

from __future__ import annotations

import base64
import math
import re
from decimal import Decimal

from include.devcluster.config import Image
from include.devcluster.core import quantity
from include.devcluster.core.objects import Object, dig, namespace
from include.devcluster.core.store import Store

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOME = "/home/container"
"""A private, writable folder of each container."""

_REFERENCE = re.compile(r"\$\$|\$\(([^()]*)\)")
_KEYED_FIELD = re.compile(r"^metadata\.(labels|annotations)\['(.+)'\]$")


class ConfigError(Exception):
    """A container cannot be made from its configuration (CreateContainerConfigError)."""


def environment(pod: Object, container: Object, image: Image, store: Store, gpus: list[int]) -> dict[str, str]:
    """All variables of a container.

    :param gpus: indexes of the GPUs given to it.
    :raises ConfigError: a config map, secret or field that it refers to does not exist.
    """
    env = {"PATH": ":".join([*image.path, SYSTEM_PATH]), "HOME": HOME, "LANG": "C.UTF-8", **image.env}
    env["HOSTNAME"] = (pod["spec"].get("hostname") or pod["metadata"]["name"])[:63]
    env["POD_IP"] = pod["status"].get("podIP", "")
    if gpus:
        env["NVIDIA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
    for source in container.get("envFrom") or []:
        prefix = source.get("prefix") or ""
        for kind in ("configMapRef", "secretRef"):
            if reference := source.get(kind):
                for key, value in (_data(pod, kind, reference, store) or {}).items():
                    env[prefix + key] = value
    for variable in container.get("env") or []:
        found = _value(pod, container, variable, store)
        if found is not None:
            env[variable["name"]] = expand(found, env) if "valueFrom" not in variable else found
    return env


def command(container: Object, image: Image, env: dict[str, str]) -> list[str]:
    """Command line: the container's, or the image's where it says nothing."""
    if container.get("command"):
        argv = [*container["command"], *(container.get("args") or [])]
    elif container.get("args"):
        argv = [*image.entrypoint, *container["args"]]
    else:
        argv = [*image.entrypoint, *image.cmd]
    if not argv:
        raise ConfigError("no command specified")
    return [expand(word, env) for word in argv]


def expand(text: str, env: dict[str, str]) -> str:
    """Replace `$(NAME)`; `$$` is a dollar sign, an unknown name stays as it is."""

    def one(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return env.get(match[1], match[0])

    return _REFERENCE.sub(one, text)


def _value(pod: Object, container: Object, variable: Object, store: Store) -> str | None:
    source = variable.get("valueFrom")
    if not source:
        return str(variable.get("value") or "")
    if reference := source.get("fieldRef"):
        return field(pod, reference["fieldPath"])
    if reference := source.get("resourceFieldRef"):
        return resource_field(pod, container, reference)
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if reference := source.get(kind):
            data = _data(pod, kind, reference, store)
            if data is not None and reference["key"] in data:
                return data[reference["key"]]
            if reference.get("optional"):
                return None
            what = "ConfigMap" if kind == "configMapKeyRef" else "Secret"
            raise ConfigError(f"couldn't find key {reference['key']} in {what} {namespace(pod)}/{reference['name']}")
    raise ConfigError(f"environment variable {variable['name']}: this kind of valueFrom is not known: {sorted(source)}")


def _data(pod: Object, kind: str, reference: Object, store: Store) -> dict[str, str] | None:
    """Contents of the referred config map or secret; None when it is missing and optional."""
    is_secret = kind.startswith("secret")
    obj = store.get("secrets" if is_secret else "configmaps", namespace(pod), reference["name"])
    if obj is None:
        if reference.get("optional"):
            return None
        raise ConfigError(f'{"secret" if is_secret else "configmap"} "{reference["name"]}" not found')
    data = obj.get("data") or {}
    if not is_secret:
        return dict(data)
    return {key: base64.b64decode(value or "").decode(errors="replace") for key, value in data.items()}


def field(pod: Object, path: str) -> str:
    """A pod field of the downward API."""
    if match := _KEYED_FIELD.match(path):
        return str((pod["metadata"].get(match[1]) or {}).get(match[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        return "\n".join(f'{k}="{v}"' for k, v in sorted((dig(pod, path) or {}).items()))
    if path in ("status.podIPs", "status.hostIPs"):
        return ",".join(item["ip"] for item in dig(pod, path) or [])
    value = dig(pod, path)
    if value is None:
        raise ConfigError(f"fieldPath {path!r} is not supported")
    return str(value)


def resource_field(pod: Object, container: Object, reference: Object) -> str:
    """Requests and limits as the downward API gives them: whole numbers of the divisor, rounded up."""
    if own := reference.get("containerName"):
        container = next(c for c in pod["spec"]["containers"] if c["name"] == own)
    section, _, key = reference["resource"].partition(".")
    resources = container.get("resources") or {}
    asked = (resources.get(section) or {}).get(key)
    divisor = quantity.parse(reference.get("divisor") or "1") or Decimal(1)
    return str(math.ceil(quantity.parse(asked or "0") / divisor))
