"""Where the answers of the dev cluster and of a real one may differ, each with its reason."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

from tests.devcluster.differential.session import Answer

TEXTS: dict[str, tuple[str, str]] = {
    "a patch error quotes the whole document as Go writes it": (r'^(Invalid value: )"(?:map\[|\{|\\").*": ', r"\1{document}: "),  # noqa: E501
    "some errors print structs of Go that no client ever sees": (r"^(Invalid value: |Duplicate value: )[\[{].*[\]}](: |$)", r"\1{value}\2"),  # noqa: E501
    "what Go's parsers say of broken JSON, YAML and protobuf": (
        r"(json parse error: |provided data does not appear to be |error decoding YAML: |unexpected GroupVersion string: ).*", r"\1…",  # noqa: E501
    ),
    "the difference of two specs that follows the sentence": (r"(?s)(pod updates may not change fields|spec is immutable after creation)(.*?)\n.*", r"\1\2"),  # noqa: E501
    "how the real server calls the method of a JSON patch that failed": (r"(the server rejected our request due to an error in our request).*", r"\1"),  # noqa: E501
    "a number of the cluster's history": (r"ResourceVersion in record \(\d+\)", "ResourceVersion in record ({version})"),  # noqa: E501
    "the present revision": (r"current: \d+", "current: {version}"),
}  # fmt: skip
"""Reason -> pattern in a message, and what is compared in its place."""


LEFT_OUT: dict[str, str] = {
    "listing/limits[11]": "how much of its history a real cluster still has depends on how long it runs",
    "listing/watch[2]": "the history of a dev cluster that was just started reaches back to its beginning",
    "listing/watch[21]": "the old paths below /watch are not served",
    "listing/watch[22]": "the old paths below /watch are not served",
    "listing/shapes[11]": "tables are served in their final version alone",
    "listing/tables[14]": "what a cluster has had to say of a claim without a storage class",
}
"""Answers that are not compared: `topic/case[place]`, and why."""


def tolerated(case: str, step: int, answer: Answer) -> Answer:
    """The answer without what may differ."""
    if f"{case}[{step}]" in LEFT_OUT:
        return {}
    made = copy.deepcopy(answer)
    body = made["body"] = _everywhere(made["body"])
    if isinstance(body, dict):
        match body.get("kind"):
            case "Status":
                made["body"] = _status(body)
            case "APIResourceList":
                _served(body)
            case "APIGroupList":
                body["groups"] = [g for g in body["groups"] if g["name"] in GROUPS]
                body["groups"].sort(key=lambda group: str(group["name"]))
            case "APIVersions":  # addresses of the server
                body["serverAddressByClientCIDRs"] = []
            case "PersistentVolumeClaim" if case == "others/claim-life" and step:
                _bound(body)
        if case == "services/kubernetes":  # each API server listens on a port of its own
            body["spec"]["ports"][0]["targetPort"] = "{port}"
    return made


GROUPS = {"coordination.k8s.io", "scheduling.k8s.io", "apiextensions.k8s.io"}
RESOURCES = {
    "pods", "events", "configmaps", "secrets", "services", "serviceaccounts", "persistentvolumeclaims", "namespaces", "nodes",  # noqa: E501
    "leases", "priorityclasses", "customresourcedefinitions",
}  # fmt: skip
SUBRESOURCES = {"pods/log", "pods/exec", "pods/binding", "pods/eviction", "pods/status"}


def _served(body: dict[str, Any]) -> None:
    """The dev cluster serves few kinds; the hashes of stored versions are the real one's own."""
    body["resources"] = [r for r in body["resources"] if r["name"] in RESOURCES or r["name"] in SUBRESOURCES]
    body["resources"].sort(key=lambda resource: str(resource["name"]))
    for resource in body["resources"]:
        resource.pop("storageVersionHash", None)
        resource["verbs"] = sorted(resource["verbs"])


def _table(body: dict[str, Any]) -> None:
    """Columns are described by whole paragraphs of documentation; no rows are null or an empty list, by kind."""
    for column in body["columnDefinitions"] or []:
        column["description"] = ""
    body["rows"] = body["rows"] or []
    for row in body["rows"]:
        row["cells"] = [
            "{address}" if re.fullmatch(r"\d+\.\d+\.\d+\.\d+", str(cell)) else cell for cell in row["cells"]
        ]


def _bound(claim: dict[str, Any]) -> None:
    """A claim gets its volume at once, whatever it asks for."""
    claim["spec"].pop("volumeName", None)
    claim.pop("status", None)


def _status(body: dict[str, Any]) -> dict[str, Any]:
    """Causes are a set: the order of checks is nobody's promise, and Go's server repeats some of them."""
    causes = (body.get("details") or {}).get("causes")
    body["message"] = _text(body.get("message", ""))
    if causes:
        for cause in causes:
            cause["message"] = _text(cause["message"])
            if (
                cause.get("field") == "patch"
            ):  # Go reads each kind of patch with another decoder, which names types its own way
                cause["message"] = re.sub(
                    r"(cannot restore|cannot convert|json: cannot unmarshal).*", "{mismatch}", cause["message"]
                )
        distinct = {json.dumps(cause, sort_keys=True) for cause in causes}
        body["details"]["causes"] = [json.loads(text) for text in sorted(distinct)]
        body["message"] = body["message"].partition(" is invalid: ")[0]  # the causes say the rest
    return body


def _text(message: str) -> str:
    for pattern, instead in TEXTS.values():
        message = re.sub(pattern, instead, message)
    return message


def _without_token(pod: dict[str, Any]) -> dict[str, Any]:
    """The dev cluster has no authorization, so it mounts no tokens."""
    spec = copy.deepcopy(pod["spec"])
    mounted = "/var/run/secrets/kubernetes.io/serviceaccount"
    spec["volumes"] = [v for v in spec.get("volumes") or [] if not v["name"].startswith("kube-api-access-")]
    for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
        container["volumeMounts"] = [m for m in container.get("volumeMounts") or [] if m["mountPath"] != mounted]
        if not container["volumeMounts"]:
            del container["volumeMounts"]
    if not spec["volumes"]:
        del spec["volumes"]
    return {**pod, "spec": spec}


def _everywhere(value: Any) -> Any:
    """What may differ in every object, also within lists and tables."""
    if isinstance(value, list):
        return [_everywhere(item) for item in value if not _is_certificate(item)]
    if not isinstance(value, dict):
        return value
    made = {key: _everywhere(inner) for key, inner in value.items()}
    if made.get("kind") == "Table":
        _table(made)
    if isinstance(made.get("managedFields"), list):
        made["managedFields"] = _owners(made["managedFields"])
        if not made["managedFields"]:
            del made["managedFields"]
    if isinstance(made.get("spec"), dict) and "containers" in made["spec"]:
        made = _without_token(made)
    return made


def _is_certificate(item: Any) -> bool:
    """A cluster puts its certificate into every namespace, for tokens, which the dev cluster does not have."""
    meta = item.get("metadata") if isinstance(item, dict) else None
    return isinstance(meta, dict) and meta.get("name") == "kube-root-ca.crt"


def _owners(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries are ordered by their time, in whole seconds: by chance, here. What controllers write differs."""
    own = [entry for entry in entries if not str(entry.get("manager", "")).startswith("kube-")]
    return sorted(own, key=lambda e: [str(e.get(k, "")) for k in ("operation", "manager", "subresource")])
