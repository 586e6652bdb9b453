"""An operator made with kopf: a config map for each gadget, by handlers that are called, repeated and resumed."""

import datetime as dt
import os
from typing import Any

import kopf
from kubernetes import client, config

GROUP = os.environ["TEST_GROUP"]
NAMESPACE = os.environ["TEST_NAMESPACE"]


@kopf.on.startup()
def connect(settings: kopf.OperatorSettings, **_: Any) -> None:
    config.load_kube_config(os.environ["KUBECONFIG"])
    settings.peering.standalone = True
    settings.posting.loggers = True


@kopf.on.create(GROUP, "v1", "gadgets")
def make(spec: kopf.Spec, name: str, retry: int, **_: Any) -> dict[str, Any]:
    if spec.get("shy") and retry == 0:
        raise kopf.TemporaryError("not at the first time", delay=0.1)
    if spec.get("impossible"):
        raise kopf.PermanentError("this cannot be made")
    child: dict[str, Any] = {"metadata": {"name": name}, "data": {"size": str(spec["size"])}}
    kopf.adopt(child)
    client.CoreV1Api().create_namespaced_config_map(NAMESPACE, child)
    return {"attempt": retry, "at": dt.datetime.now(dt.UTC).isoformat()}


@kopf.on.update(GROUP, "v1", "gadgets", field="spec.size")
def resize(name: str, old: Any, new: Any, **_: Any) -> dict[str, Any]:
    client.CoreV1Api().patch_namespaced_config_map(name, NAMESPACE, {"data": {"size": str(new)}})
    return {"from": old, "to": new}


@kopf.on.delete(GROUP, "v1", "gadgets")
def say_goodbye(name: str, **_: Any) -> None:
    body = {"metadata": {"name": f"{name}-goodbye"}}
    client.CoreV1Api().create_namespaced_config_map(NAMESPACE, body)
