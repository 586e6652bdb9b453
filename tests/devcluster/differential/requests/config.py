"""ConfigMaps and Secrets, good and bad."""

from __future__ import annotations

import base64
from typing import Any

from tests.devcluster.differential.case import JSON_PATCH, STRATEGIC, Cases, get, patch, post, put

_PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


MAPS: dict[str, dict[str, Any]] = {
    "map": {"data": {"a": "1", "b.c-d_e": "", "long": "x\ny\n"}, "binaryData": {"bin": _b64("\x00\x01")}},
    "map-number": {"data": {"a": 1}},
    "map-bool": {"data": {"a": True}},
    "map-object": {"data": {"a": {"b": "c"}}},
    "map-list": {"data": ["a"]},
    "map-text": {"data": "a"},
    "map-null": {"data": {"a": None}},
    "map-key-space": {"data": {"a b": "1"}},
    "map-key-slash": {"data": {"a/b": "1"}},
    "map-key-empty": {"data": {"": "1"}},
    "map-key-dots": {"data": {"..": "1"}},
    "map-key-dot": {"data": {".": "1"}},
    "map-key-dots-first": {"data": {"..a": "1"}},
    "map-key-hidden": {"data": {".a": "1"}},
    "map-key-long": {"data": {"a" * 254: "1"}},
    "map-both": {"data": {"a": "1"}, "binaryData": {"a": _b64("1")}},
    "map-binary-bad": {"binaryData": {"a": "no base64!"}},
    "map-binary-breaks": {"binaryData": {"a": "aGVs\nbG8=\n"}},
    "map-binary-unpadded": {"binaryData": {"a": "aGVsbG8"}},
    "map-binary-null": {"binaryData": {"a": None}},
    "map-binary-number": {"binaryData": {"a": 1}},
    "map-large": {"data": {"a": "x" * (1 << 20)}},
    "map-too-large": {"data": {"a": "x" * (1 << 20), "b": "x"}},
    "map-immutable": {"immutable": True, "data": {"a": "1"}},
    "map-immutable-text": {"immutable": "yes"},
    "map-spec": {"spec": {"a": 1}},
}

SECRETS: dict[str, dict[str, Any]] = {
    "secret": {"data": {"a": _b64("1")}, "stringData": {"a": "2", "b": "3"}},
    "secret-text": {"stringData": {"a": "ä\n"}},
    "secret-empty": {},
    "secret-plain-data": {"data": {"a": "not base64!"}},
    "secret-breaks": {"data": {"a": "aGVs\nbG8=\n", "b": "aGVs\r\nbG8="}},
    "secret-spaces": {"data": {"a": "aGVs bG8="}},
    "secret-null": {"data": {"a": None}, "stringData": {"b": None}},
    "secret-number": {"data": {"a": 1}},
    "secret-text-number": {"stringData": {"a": 1}},
    "secret-unpadded": {"data": {"a": "aGVsbG8"}},
    "secret-url-base64": {"data": {"a": "_-8="}},
    "secret-key": {"stringData": {"a b": "1"}},
    "secret-type": {"type": "podium.test/thing", "stringData": {"a": "1"}},
    "secret-type-empty": {"type": ""},
    "secret-tls": {"type": "kubernetes.io/tls", "data": {"tls.crt": _b64(_PEM), "tls.key": _b64("k")}},
    "secret-tls-no-key": {"type": "kubernetes.io/tls", "data": {"tls.crt": _b64(_PEM)}},
    "secret-tls-none": {"type": "kubernetes.io/tls"},
    "secret-basic": {"type": "kubernetes.io/basic-auth", "stringData": {"username": "u"}},
    "secret-basic-none": {"type": "kubernetes.io/basic-auth", "stringData": {"user": "u"}},
    "secret-ssh": {"type": "kubernetes.io/ssh-auth", "stringData": {"ssh-privatekey": "k"}},
    "secret-ssh-none": {"type": "kubernetes.io/ssh-auth", "stringData": {"ssh-privatekey": ""}},
    "secret-docker": {"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "{}"}},
    "secret-docker-none": {"type": "kubernetes.io/dockerconfigjson"},
    "secret-docker-bad": {"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "x"}},
    "secret-dockercfg-none": {"type": "kubernetes.io/dockercfg"},
    "secret-token": {"type": "kubernetes.io/service-account-token"},
    "secret-token-unknown": {
        "type": "kubernetes.io/service-account-token",
        "metadata": {"annotations": {"kubernetes.io/service-account.name": "nobody"}},
    },
    "secret-bootstrap": {"type": "bootstrap.kubernetes.io/token"},
    "secret-too-large": {"stringData": {"a": "x" * ((1 << 20) + 1)}},
    "secret-immutable": {"immutable": True},
}


def _named(name: str, kind: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, **body, "metadata": {"name": name, **body.get("metadata", {})}}


CASES: Cases = {name: [post("configmaps", _named(name, "ConfigMap", body))] for name, body in MAPS.items()}
CASES |= {name: [post("secrets", _named(name, "Secret", body))] for name, body in SECRETS.items()}
_MAP = _named("m-change", "ConfigMap", {"data": {"a": "1"}})
_FIXED = _named("m-fixed", "ConfigMap", {"data": {"a": "1"}, "immutable": True})
_SECRET = _named("s-change", "Secret", {"stringData": {"a": "1"}})
_SECRET_FIXED = _named("s-fixed", "Secret", {"stringData": {"a": "1"}, "immutable": True})
CASES |= {
    "map-change": [
        post("configmaps", _MAP),
        put("configmaps/m-change", {**_MAP, "data": {"b": "2"}}),
        put("configmaps/m-change", {**_MAP, "data": {"b c": "2"}}),
        put("configmaps/m-change", {**_MAP, "data": {"b": 2}}),
        patch("configmaps/m-change", {"data": {"c": 3}}),
        patch("configmaps/m-change", {"data": {"c": "3"}}),
        patch("configmaps/m-change", {"data": {"c": None}}),
        patch("configmaps/m-change", {"data": None}),
        patch("configmaps/m-change", [{"op": "add", "path": "/data", "value": {"x": 1}}], JSON_PATCH),
        patch("configmaps/m-change", {"data": {"d": "4"}, "immutable": True}, STRATEGIC),
        get("configmaps/m-change"),
    ],
    "map-fixed": [
        post("configmaps", _FIXED),
        patch("configmaps/m-fixed", {"data": {"a": "2"}}),
        patch("configmaps/m-fixed", {"data": {"b": "2"}, "binaryData": {"c": ""}}),
        patch("configmaps/m-fixed", {"immutable": False}),
        patch("configmaps/m-fixed", {"immutable": None}),
        patch("configmaps/m-fixed", {"metadata": {"labels": {"a": "b"}}}),
    ],
    "secret-change": [
        post("secrets", _SECRET),
        patch("secrets/s-change", {"stringData": {"b": "2"}}),
        patch("secrets/s-change", {"data": {"b": "!"}}),
        patch("secrets/s-change", {"type": "other"}),
        put("secrets/s-change", {**_SECRET, "type": "other"}),
        put("secrets/s-change", {**_SECRET, "type": "Opaque", "stringData": {"z": "1"}}),
        put("secrets/s-change", {**_SECRET, "stringData": {"z": "2"}}),
    ],
    "secret-fixed": [
        post("secrets", _SECRET_FIXED),
        patch("secrets/s-fixed", {"stringData": {"a": "2"}}),
        patch("secrets/s-fixed", {"immutable": False}),
    ],
}
