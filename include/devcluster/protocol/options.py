"""What a request asks for beside its object: `metav1.CreateOptions`, `PatchOptions`, `ListOptions`, `DeleteOptions`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from include.devcluster.core import errors
from include.devcluster.core.deletion import DeleteOptions
from include.devcluster.core.errors import ApiError
from include.devcluster.core.objects import Object
from include.devcluster.kinds.decode import DecodeError, Decoder
from include.devcluster.validation.rules import Cause, forbidden, invalid, missing, unsupported

MANAGER_BYTES = 128
MATCHES = ("Exact", "NotOlderThan", "")
_POLICIES = ("Foreground", "Background", "Orphan", "nil")
FALSE = ("false", "0")
"""How a query says no; everything else says yes."""


def is_true(query: Mapping[str, str], key: str) -> bool:
    """A boolean of a query."""
    return key in query and query[key] not in FALSE


@dataclass(frozen=True)
class WriteOptions:
    """How an object is written.

    :param dry: nothing is stored.
    :param validation: `Strict` refuses unknown fields, `Warn` (the default) tells of them, `Ignore` drops them silently.
    :param manager: the field manager that the request names, empty if none.
    :param force: a server-side apply takes fields from others.
    """  # noqa: E501

    dry: bool
    validation: str
    manager: str
    force: bool


def write(query: Mapping[str, str], kind: str, *, is_apply: bool = False) -> WriteOptions:
    """Of a create, an update or a patch (`kind`: CreateOptions …). Raises 422."""
    if causes := list(_write_causes(query, kind, is_apply)):
        raise _refused(kind, *causes)
    return WriteOptions(
        dry="dryRun" in query,
        validation=query.get("fieldValidation") or "Warn",
        manager=query.get("fieldManager", ""),
        force=is_true(query, "force"),
    )


def _write_causes(query: Mapping[str, str], kind: str, is_apply: bool) -> Iterator[Cause]:
    manager, validation = query.get("fieldManager", ""), query.get("fieldValidation", "")
    if is_apply and not manager:
        yield missing("fieldManager", "is required for apply patch")
    if kind == "PatchOptions" and not is_apply and "force" in query:
        yield forbidden("force", "may not be specified for non-apply patch")
    if len(manager.encode()) > MANAGER_BYTES:
        yield "fieldManager", f"Too long: may not be more than {MANAGER_BYTES} bytes"
    for place, letter in enumerate(manager):
        if not letter.isprintable():
            yield invalid("fieldManager", manager, f"invalid character U+{ord(letter):04X} (at position {place})")
            break
    yield from _dry_causes([query["dryRun"]] if "dryRun" in query else [])
    if validation not in ("", "Ignore", "Strict", "Warn"):
        yield unsupported("fieldValidation", validation, ("", "Ignore", "Strict", "Warn"))


def _dry_causes(value: list[str]) -> Iterator[Cause]:
    if any(stage != "All" for stage in value):
        yield unsupported("dryRun", value, ("All",))


def listing(query: Mapping[str, str], *, watch: bool) -> None:
    """Raises 422 for what a list or a watch cannot mean."""
    if causes := list(_list_causes(query, watch)):
        raise _refused("ListOptions", *causes)


def _list_causes(query: Mapping[str, str], watch: bool) -> Iterator[Cause]:
    match, version = query.get("resourceVersionMatch", ""), query.get("resourceVersion", "")
    where, initial = "resourceVersionMatch", "sendInitialEvents" in query
    if watch:
        if initial and match != "NotOlderThan":
            yield forbidden(where, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
        elif match and not initial:
            yield forbidden(where, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
        return
    if initial:
        yield forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")
    if not match:
        return
    if not version:
        yield forbidden(where, "resourceVersionMatch is forbidden unless resourceVersion is provided")
    if query.get("continue"):
        yield forbidden(where, "resourceVersionMatch is forbidden when continue is provided")
    if match not in MATCHES:
        yield unsupported(where, match, MATCHES)
    elif match == "Exact" and version == "0":
        yield forbidden(where, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')


def version(query: Mapping[str, str]) -> None:
    """Raises 500 for a resourceVersion that is no number."""
    if (given := query.get("resourceVersion", "")) and not given.isdigit():
        raise errors.internal(_no_number(given))


def _no_number(given: str) -> str:
    return f'resourceVersion: Invalid value: "{given}": strconv.ParseUint: parsing "{given}": invalid syntax'


def at_version(query: Mapping[str, str], present: int) -> None:
    """Raises 400, 410 and 504 for a list of a state that is none, is gone, or is yet to come."""
    given = query.get("resourceVersion", "")
    if given and not given.isdigit():
        raise errors.bad_request(f"invalid resource version: {_no_number(given)}")
    if given and int(given) > present:
        details = {
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        }
        raise ApiError(504, "Timeout", f"Timeout: Too large resource version: {given}, current: {present}", details)
    if query.get("resourceVersionMatch") == "Exact" and int(given) != present:
        raise ApiError(410, "Expired", "The resourceVersion for the provided list is too old.")


def log(query: Mapping[str, str], pod: str) -> None:
    """Raises 400 and 422 for what the log of a pod cannot be read by."""
    causes: list[Cause] = []
    for key, least, wrong in (
        ("tailLines", 0, "must be greater than or equal to 0"),
        ("sinceSeconds", 1, "must be greater than 0"),
        ("limitBytes", 1, "must be greater than 0"),
    ):
        if text := query.get(key):
            value = number(text)
            if value < least:
                causes.append(invalid(key, value, wrong))
    if query.get("sinceSeconds") and query.get("sinceTime"):
        causes.append(forbidden("[]", "at most one of `sinceTime` or `sinceSeconds` may be specified"))
    if causes:
        raise errors.invalid("PodLogOptions", pod, *causes)


def number(text: str) -> int:
    """A whole number of a query. Raises 400."""
    try:
        return int(text)
    except ValueError:
        raise errors.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def deletion(body: Any, query: Mapping[str, str]) -> DeleteOptions:
    """Of a delete: from the body or, without one, from the query. Raises 400, 422 and 500."""
    given = _delete_body(body) if body not in (None, {}) else _delete_query(query)
    policy, orphan = given.get("propagationPolicy"), given.get("orphanDependents")
    causes = list(_dry_causes(given.get("dryRun") or []))
    if policy is not None and orphan is not None:
        causes.append(
            invalid("propagationPolicy", policy, "orphanDependents and deletionPropagation cannot be both set")
        )
    elif policy is not None and policy not in _POLICIES[:3]:
        causes.append(unsupported("propagationPolicy", policy, _POLICIES))
    if causes:
        raise _refused("DeleteOptions", *causes)
    if policy is None and orphan is not None:
        policy = "Orphan" if orphan else "Background"
    grace, preconditions = given.get("gracePeriodSeconds"), given.get("preconditions") or {}
    return DeleteOptions(
        grace=None if grace is None else 1 if grace < 0 else grace,
        propagation=policy,
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
        dry_run=bool(given.get("dryRun")),
    )


def _delete_body(body: Any) -> Object:
    if not isinstance(body, dict):
        raise errors.internal("couldn't get version/kind; json parse error: it is no object")
    kind, version = body.get("kind", "DeleteOptions"), body.get("apiVersion", "v1")
    if kind != "DeleteOptions":
        raise errors.internal(
            f'no kind "{kind}" is registered for version "{version}" in scheme "pkg/runtime/scheme.go:110"'
        )
    try:
        return Decoder().object(body, "DeleteOptions")
    except DecodeError as error:
        raise errors.internal(str(error)) from error


def _delete_query(query: Mapping[str, str]) -> Object:
    given: Object = {}
    if grace := query.get("gracePeriodSeconds", ""):
        given["gracePeriodSeconds"] = number(grace)
    if policy := query.get("propagationPolicy"):
        given["propagationPolicy"] = policy
    if "orphanDependents" in query:
        given["orphanDependents"] = is_true(query, "orphanDependents")
    if "dryRun" in query:
        given["dryRun"] = [query["dryRun"]]
    return given


def _refused(kind: str, *causes: Cause) -> ApiError:
    return errors.invalid(kind, "", *causes, group="meta.k8s.io")
