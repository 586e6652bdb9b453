"""Rules of CustomResourceDefinitions."""

from __future__ import annotations

from collections.abc import Iterator

from include.devcluster.core.objects import Object
from include.devcluster.validation.rules import Cause, invalid, missing, unsupported


def causes(obj: Object) -> Iterator[Cause]:
    """Everything that is wrong with a definition."""
    spec, own = obj["spec"], obj["metadata"].get("name")
    names, group, versions = spec.get("names") or {}, spec.get("group") or "", spec.get("versions") or []
    if own != f"{names.get('plural', '')}.{group}":
        yield invalid("metadata.name", own, 'must be spec.names.plural+"."+spec.group')
    if not group:
        yield missing("spec.group")
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        yield unsupported("spec.scope", spec.get("scope") or "", ("Cluster", "Namespaced"))
    stored = [version["name"] for version in versions if version.get("storage")]
    if len(stored) != 1:
        yield invalid("spec.versions", versions, "must have exactly one version marked as storage version")
    if not stored:
        yield invalid("status.storedVersions", None, "must have at least one stored version")
    for field in ("plural", "singular", "kind", "listKind"):
        if not names.get(field):
            yield missing(f"spec.names.{field}")
    for place, version in enumerate(versions):
        if not (version.get("schema") or {}).get("openAPIV3Schema"):
            yield missing(f"spec.versions[{place}].schema.openAPIV3Schema")
