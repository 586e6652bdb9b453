"""Which routes of the gateway apply to which host name, and in which order (Envoy takes the first that matches).

https://gateway-api.sigs.k8s.io/reference/spec/#httproutespec, ``hostnames`` and ``rules.matches``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

ANY_HOST = "*"


@dataclass(frozen=True)
class Entry:
    """One match of an HTTPRoute.

    :param hostnames: exact, or ``*.`` and a suffix; none: any host.
    :param order: the least comes first among those of one host name.
    :param route: as Envoy has it.
    """

    hostnames: tuple[str, ...]
    order: tuple[Any, ...]
    route: dict[str, Any]


def names(entries: Iterable[Entry]) -> set[str]:
    """The host names that any entry names."""
    return {hostname for entry in entries for hostname in entry.hostnames}


def for_host(host: str, entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """The routes that apply to ``host`` (exact, ``*.suffix`` or :data:`ANY_HOST`), the most specific host name first.

    Envoy looks at no other host name once it has found the closest, so each has all that apply to it.
    """
    found = []
    for entry in entries:
        covering = [name for name in entry.hostnames or (ANY_HOST,) if _covers(name, host)]
        if covering:
            found.append((min(_specificity(name) for name in covering), entry.order, entry.route))
    return [route for *_, route in sorted(found, key=lambda each: each[:2])]


def _covers(hostname: str, host: str) -> bool:
    return hostname in (host, ANY_HOST) or (hostname.startswith("*.") and host.endswith(hostname[1:]))


def _specificity(hostname: str) -> tuple[int, int]:
    """Characters of a name without wildcard come first, then those of any name."""
    return -len(hostname) if "*" not in hostname else 0, -len(hostname)
