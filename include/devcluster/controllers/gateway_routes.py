"""An HTTPRoute as Envoy routes: one for each match of each rule."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from include.devcluster.controllers.gateway import REQUEST_TIMEOUT, RETRY_POLICY
from include.devcluster.controllers.gateway_hosts import Entry
from include.devcluster.controllers.objects import Manifest, key_of
from include.devcluster.controllers.route_spec import HeaderChange, Match, RouteSpec, Rule, ServiceRef

UNRESOLVED = "unresolved"
"""No cluster has this name: Envoy answers 500 for what is sent there."""
MILLION = 1_000_000

Clusters = Mapping[ServiceRef, str]


def entries(route: Manifest, spec: RouteSpec, clusters: Clusters) -> list[Entry]:
    """All matches of a route.

    :param clusters: of each reference that resolves.
    """
    created = route["metadata"].get("creationTimestamp", "")
    found = []
    for place, rule in spec.rules:
        action = _action(rule, clusters)
        for number, match in enumerate(rule.matches):
            order = (*_precedence(match), created, "/".join(key_of(route)), place, number)
            found.append(Entry(spec.hostnames, order, {"match": _match(match), **action}))
    return found


def _precedence(match: Match) -> tuple[bool, int, int]:
    """Exact paths first, then the longest prefix, then the most headers."""
    return match.path.type != "Exact", -len(match.path.value), -len(_headers(match))


def _match(match: Match) -> dict[str, Any]:
    if match.path.type == "Exact":
        path = {"path": match.path.value}
    elif prefix := match.path.value.rstrip("/"):
        path = {"path_separated_prefix": prefix}
    else:
        path = {"prefix": "/"}
    return {**path, "headers": _headers(match)}


def _headers(match: Match) -> list[dict[str, Any]]:
    """Of two conditions on one header the first counts alone."""
    first = {header.name: header.value for header in reversed(match.headers)}
    return [{"name": name, "string_match": {"exact": value}} for name, value in sorted(first.items())]


def _action(rule: Rule, clusters: Clusters) -> dict[str, Any]:
    weighted = [(clusters.get(ref, UNRESOLVED), ref.weight) for ref in rule.backend_refs if ref.weight]
    if not weighted:
        return {"direct_response": {"status": 500, "body": {"inline_string": "no backend has a share of this route\n"}}}
    timeout = rule.timeouts.request_s
    mirrors = [(clusters[m.backend_ref], m.share) for m in rule.mirrors if m.backend_ref in clusters and m.share]
    return {
        "route": {
            "weighted_clusters": {"clusters": [{"name": name, "weight": weight} for name, weight in weighted]},
            "cluster_not_found_response_code": "INTERNAL_SERVER_ERROR",
            "timeout": REQUEST_TIMEOUT if timeout is None else f"{timeout:.3f}s",
            "retry_policy": RETRY_POLICY,
            "request_mirror_policies": [_mirror(*mirror) for mirror in mirrors],
            **_rewrite(rule),
        },
        **_header_change(rule.headers),
    }


def _mirror(cluster: str, share: float) -> dict[str, Any]:
    fraction = {"numerator": round(share * MILLION), "denominator": "MILLION"}
    return {
        "cluster": cluster,
        "runtime_fraction": {"default_value": fraction},
        # The copy goes to another server, which is to see what the first one sees.
        "disable_shadow_host_suffix_append": True,
    }


def _rewrite(rule: Rule) -> dict[str, Any]:
    if rule.rewrite is None:
        return {}
    prefix = rule.matches[0].path.value.rstrip("/")
    replacement = rule.rewrite.replace_prefix_match.rstrip("/")
    if prefix and replacement:
        return {"prefix_rewrite": replacement}
    # Envoy's prefix_rewrite makes "//bar" of "/foo/bar" then (envoyproxy/envoy#26055).
    pattern = f"^{re.escape(prefix)}/*"
    return {"regex_rewrite": {"pattern": {"regex": pattern}, "substitution": f"{replacement}/".replace("\\", "\\\\")}}


def _header_change(change: HeaderChange) -> dict[str, Any]:
    actions = (("OVERWRITE_IF_EXISTS_OR_ADD", change.set), ("APPEND_IF_EXISTS_OR_ADD", change.add))
    added = [
        # A percent sign begins a command of Envoy's.
        {"header": {"key": header.name, "value": header.value.replace("%", "%%")}, "append_action": action}
        for action, headers in actions
        for header in headers
    ]
    return {"request_headers_to_add": added, "request_headers_to_remove": list(change.remove)}
