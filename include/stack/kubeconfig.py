"""A client of the cluster that a kubeconfig names."""

import base64
import binascii
import ssl
from pathlib import Path
from typing import Any

import httpx
import yaml

from include.stack.errors import StackError

TIMEOUT_S = 30.0


def client(path: Path) -> httpx.Client:
    """An HTTP client with address, authority and bearer token of the file's current context.

    :raises StackError: the file cannot be read, or lacks one of them.
    """
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        token = _named(config["users"], context["user"])["user"]["token"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        trust = ssl.create_default_context(cadata=authority)
        server = str(cluster["server"])
    except (OSError, yaml.YAMLError, ssl.SSLError, binascii.Error, KeyError, TypeError, UnicodeError) as error:
        raise StackError(
            f"the kubeconfig {path} cannot be used ({type(error).__name__}: {error}): its current context needs "
            "server, certificate-authority-data and a token, such as `kubectl create token` gives"
        ) from error
    return httpx.Client(
        base_url=server, verify=trust, headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_S, trust_env=False
    )


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    for entry in entries:
        if entry["name"] == name:
            return entry
    raise KeyError(name)
