"""Rules of what every object has: name, labels, annotations, finalizers, owners."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from include.devcluster.core.objects import Object
from include.devcluster.validation import formats
from include.devcluster.validation.rules import Cause, Place, forbidden, invalid, labels, missing

ANNOTATIONS_BYTES = 256 << 10
_STANDARD_FINALIZERS = {"kubernetes", "orphan", "foregroundDeletion"}
_FREE = ("", "CustomResourceDefinition")
"""Kinds whose finalizers may have any name; that of custom ones is empty here."""

_NAMES: dict[str, Callable[[str], Iterator[str]]] = {"Service": formats.dns_1035_label, "Namespace": formats.dns_label}


def name_form(kind: str) -> Callable[[str], Iterator[str]]:
    """The form that names of a kind have."""
    return _NAMES.get(kind, formats.dns_subdomain)


def causes(obj: Object, kind: str) -> Iterator[Cause]:
    """Everything that is wrong with the metadata of an object."""
    meta = obj["metadata"]
    of = name_form(kind)
    if prefix := meta.get("generateName"):
        text = prefix[:-1] + "a" if prefix.endswith("-") else prefix
        yield from (invalid("metadata.generateName", prefix, wrong) for wrong in of(text))
    if not meta.get("name"):
        yield missing("metadata.name", "name or generateName is required")
    else:
        yield from _name(meta["name"], kind, of)
    yield from labels(meta.get("labels"), Place("metadata.labels"))
    yield from _annotations(meta.get("annotations") or {})
    yield from _finalizers(meta.get("finalizers") or [], kind)
    yield from _owners(meta.get("ownerReferences") or [])


def _name(name: str, kind: str, of: Callable[[str], Iterator[str]]) -> Iterator[Cause]:
    if kind == "Namespace" and "." in name:
        yield invalid("metadata.name", name, "must not contain dots")
        return
    yield from (invalid("metadata.name", name, wrong) for wrong in of(name))


def _annotations(annotations: dict[str, str]) -> Iterator[Cause]:
    for key in annotations:
        yield from (invalid("metadata.annotations", key, wrong) for wrong in formats.qualified_name(key.lower()))
    if sum(len(key.encode()) + len(text.encode()) for key, text in annotations.items()) > ANNOTATIONS_BYTES:
        yield "metadata.annotations", f"Too long: may not be more than {ANNOTATIONS_BYTES} bytes"


def _finalizers(found: list[str], kind: str) -> Iterator[Cause]:
    for place, finalizer in enumerate(found):
        yield from (invalid("metadata.finalizers", finalizer, wrong) for wrong in formats.qualified_name(finalizer))
        if kind not in _FREE and "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            text = "name is neither a standard finalizer name nor is it fully qualified"
            yield invalid(f"metadata.finalizers[{place}]", finalizer, text)
    if {"orphan", "foregroundDeletion"} <= set(found):
        yield invalid("metadata.finalizers", found, "finalizer orphan and foregroundDeletion cannot be both set")


def _owners(found: list[Object]) -> Iterator[Cause]:
    where = "metadata.ownerReferences"
    for owner in found:
        version = owner.get("apiVersion") or ""
        if not version.rpartition("/")[2]:
            yield invalid(f"{where}.apiVersion", version, "version must not be empty")
        for field in ("kind", "name", "uid"):
            if not owner.get(field):
                yield invalid(f"{where}.{field}", "", "must not be empty")
        if (version, owner.get("kind")) == ("v1", "Event"):
            yield invalid(where, _ordered(owner), "/v1, Kind=Event is disallowed from being an owner")
    leading = [owner for owner in found if owner.get("controller")]
    if len(leading) > 1:
        names = " and ".join(f"{owner.get('kind')}/{owner.get('name')}" for owner in leading[:2])
        text = f'Only one reference can have Controller set to true. Found "true" in references for {names}'
        yield invalid(where, [_ordered(owner) for owner in found], text)


def _ordered(owner: Object) -> Object:
    return {
        key: owner[key]
        for key in ("apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion")
        if key in owner
    }


def change_causes(old: Object, new: Object) -> Iterator[Cause]:
    """What of the metadata stays as it is."""
    was, meta = old["metadata"], new["metadata"]
    if was.get("deletionTimestamp"):
        added = [f for f in meta.get("finalizers") or [] if f not in (was.get("finalizers") or [])]
        if added:
            listed = ", ".join(f'"{finalizer}"' for finalizer in sorted(added))
            yield forbidden(
                "metadata.finalizers",
                f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}",  # noqa: E501
            )
