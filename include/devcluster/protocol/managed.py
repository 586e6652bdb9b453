"""Field ownership: `metadata.managedFields` and server-side apply.

https://kubernetes.io/docs/reference/using-api/server-side-apply/ and `merge/update.go` of structured-merge-diff.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from include.devcluster.core.errors import ApiError
from include.devcluster.core.objects import Object, now
from include.devcluster.kinds.shapes import Shape
from include.devcluster.protocol import fieldsets
from include.devcluster.protocol.fieldsets import Fields, MergeError, Path

_IGNORED = {("f:apiVersion",), ("f:kind",), ("f:metadata",)} | {
    ("f:metadata", f"f:{field}")
    for field in ("name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields", "resourceVersion",  # noqa: E501
                  "deletionTimestamp", "deletionGracePeriodSeconds")
}  # fmt: skip


@dataclass(frozen=True)
class Writer:
    """Who writes what part of an object: the manager, `Apply` or `Update`, and the sub-resource."""

    manager: str
    operation: str
    subresource: str = ""

    def wrote(self, entry: Object) -> bool:
        """Whether the entry is of this writer."""
        return (self.manager, self.operation, self.subresource) == (
            entry["manager"], entry["operation"], entry.get("subresource", ""),
        )  # fmt: skip


def without(obj: Object) -> Object:
    """The metadata less what changes by itself."""
    return {k: v for k, v in obj["metadata"].items() if k not in ("managedFields", "resourceVersion")}


def valid(given: Any, before: Any) -> list[Object]:
    """The entries that an object came with, if they are well-formed; none when it came with an empty list.

    :param before: the entries of the object that it replaces, which hold where it says nothing.
    """
    if given is None:
        return list(before or [])
    is_formed = all(
        entry.get("operation") in ("Apply", "Update")
        and entry.get("fieldsType") == "FieldsV1"
        and entry.get("fieldsV1")
        for entry in given
    )
    return given if is_formed else []


def restore(obj: Object, entries: list[Object]) -> None:
    """Give an object its entries."""
    obj["metadata"].pop("managedFields", None)
    if entries:
        obj["metadata"]["managedFields"] = entries


def record(new: Object, old: Object, manager: str, subresource: str, shape: Shape) -> None:
    """Enter into managedFields of `new` what this write changed (`apply` enters its own).

    :param old: the object before; of a new one, what an empty object of its kind looks like.
    """
    writer = Writer(manager, "Update", subresource)
    entries = new["metadata"].get("managedFields") or []
    try:
        restore(new, _updated(new, old, entries, writer, shape))
    except MergeError:  # an object that will be refused: there is nothing to own
        return


def _updated(new: Object, old: Object, entries: list[Object], writer: Writer, shape: Shape) -> list[Object]:
    difference = fieldsets.compare(old, new, shape)
    removed, changed = frozenset(difference.removed), frozenset(difference.added | difference.modified) - _IGNORED
    if not removed and not changed:
        return entries
    own: Fields = frozenset()
    result: list[Object] = []
    for entry in entries:
        fields = fieldsets.decode(entry["fieldsV1"])
        if writer.wrote(entry):
            own = fields
        else:
            _append(result, entry, fields - changed - removed)
    fields = (own - removed) | changed
    _append(result, _entry(new, writer, fields, own, entries), fields)
    return _sorted(result)


def apply(current: Object, config: Object, writer: Writer, shape: Shape, *, force: bool) -> Object:
    """What server-side apply makes of an object with the fields that the writer now wants.

    :param current: what is there; of a new object, its apiVersion, kind and name alone.
    :raises ApiError: 409 with one cause per field that another manager holds with another value, 500 for fields that
        the kind does not have.
    """
    try:
        fieldsets.check(config, shape)
    except MergeError as error:
        meta = config["metadata"]
        version = config["apiVersion"] if "/" in config["apiVersion"] else f"/{config['apiVersion']}"
        text = f"failed to create typed patch object ({meta.get('namespace', '')}/{meta['name']}; {version}, Kind={config['kind']})"  # noqa: E501
        raise ApiError(500, "", f"{text}: {error}") from error
    base = {**current, "metadata": {k: v for k, v in current["metadata"].items() if k != "managedFields"}}
    entries = current["metadata"].get("managedFields") or []
    if not entries and "uid" in base["metadata"]:
        fields = fieldsets.fields_of(base, shape) - _IGNORED
        first = _entry(current, Writer("before-first-apply", "Update"), fields, frozenset(), [])
        entries = [{**first, "fieldsV1": fieldsets.encode(fields)}] if fields else []
    wanted = fieldsets.fields_of(config, shape) - _IGNORED
    others = [(entry, fieldsets.decode(entry["fieldsV1"])) for entry in entries if not writer.wrote(entry)]
    last = next((fieldsets.decode(entry["fieldsV1"]) for entry in entries if writer.wrote(entry)), frozenset[Path]())
    merged = fieldsets.merge(base, config, shape)
    held = wanted.union(*(fields for _, fields in others))
    new = _pruned(merged, last, held, shape) if last else merged
    difference = fieldsets.compare(base, new, shape)
    changed = frozenset(difference.added | difference.modified)
    conflicts = [(entry, fields & changed) for entry, fields in others]
    if not force and any(fields for _, fields in conflicts):
        raise _conflict(current, [(entry, sorted(fields)) for entry, fields in conflicts if fields])
    result: list[Object] = []
    for (entry, fields), (_, taken) in zip(others, conflicts, strict=True):
        _append(result, entry, fields - taken - frozenset(difference.removed))
    own = _entry(config, writer, wanted, last, entries)
    _append(result, _untimed(own, entries, writer) if new == base else own, wanted)
    return {**new, "metadata": {**new["metadata"], "managedFields": _sorted(result)}}


def _pruned(merged: Object, last: Fields, held: Fields, shape: Shape) -> Object:
    """Without what the writer wanted last time and nobody wants now."""
    last = fieldsets.with_named(last, shape)
    pruned = fieldsets.remove(merged, last, shape) or {}
    every = fieldsets.with_named(fieldsets.fields_of(merged, shape), shape)
    kept = fieldsets.with_named(fieldsets.fields_of(pruned, shape), shape)
    pruned = fieldsets.remove(merged, every - (kept | fieldsets.with_named(held, shape)), shape) or {}
    kept = fieldsets.with_named(fieldsets.fields_of(pruned, shape), shape)
    result: Object = fieldsets.remove(merged, (every - kept) & last, shape) or {}
    return result


def _entry(obj: Object, writer: Writer, fields: Fields, before: Fields, entries: list[Object]) -> Object:
    """The writer's entry; its time is that of the last change of its fields."""
    entry: Object = {
        "manager": writer.manager,
        "operation": writer.operation,
        "apiVersion": obj["apiVersion"],
        "time": now(),
        "fieldsType": "FieldsV1",
    }
    if writer.subresource:
        entry["subresource"] = writer.subresource
    was = next((old for old in entries if writer.wrote(old)), None)
    return {**entry, "time": was["time"]} if was and fields == before and was.get("time") else entry


def _untimed(entry: Object, entries: list[Object], writer: Writer) -> Object:
    """An entry of a write that changed nothing in the object: its time is that of the one before, if there was one."""
    was = next((old.get("time") for old in entries if writer.wrote(old)), None)
    made = {key: value for key, value in entry.items() if key != "time"}
    return {**made, "time": was} if was else made


def _append(entries: list[Object], entry: Object, fields: Fields) -> None:
    if fields:
        entries.append({**entry, "fieldsV1": fieldsets.encode(fields)})


def _sorted(entries: list[Object]) -> list[Object]:
    keys = ("operation", "time", "manager", "apiVersion", "subresource")
    return sorted(entries, key=lambda entry: [str(entry.get(key, "")) for key in keys])


def _conflict(obj: Object, conflicts: list[tuple[Object, list[Path]]]) -> ApiError:
    found = []
    for entry, paths in conflicts:
        who = f'"{entry["manager"]}"'
        if entry.get("subresource"):
            who += f' with subresource "{entry["subresource"]}"'
        if entry["operation"] == "Update":
            who += f" using {entry['apiVersion']}"
        found += [(who, fieldsets.readable(path)) for path in paths]
    found.sort()
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": path} for who, path in found
    ]
    if len(found) == 1:
        text = f"Apply failed with 1 conflict: conflict with {found[0][0]}: {found[0][1]}"
    else:
        text = f"Apply failed with {len(found)} conflicts: " + "\n".join(_grouped(found))
    return ApiError(409, "Conflict", text, {"causes": causes})


def _grouped(found: list[tuple[str, str]]) -> list[str]:
    lines: list[Any] = []
    for who, paths in itertools.groupby(found, key=lambda item: item[0]):
        lines += [f"conflicts with {who}:", *(f"- {path}" for _, path in paths)]
    return lines
