"""JSON patch (RFC 6902) with JSON pointers (RFC 6901), with the liberties that the API server takes."""

from __future__ import annotations

import copy
from typing import Any

from include.devcluster.core.errors import ApiError, bad_request
from include.devcluster.core.objects import Object


def apply(obj: Object, operations: Any) -> Object:
    """A copy of the object with the operations done, all or none.

    :raises ApiError: 422 when an operation cannot be done, 400 when there is none to decode.
    """
    if operations is None:
        raise bad_request("error decoding patch: unexpected end of JSON input")
    if not isinstance(operations, list):
        said = type_name(operations)
        raise bad_request(
            f"error decoding patch: json: cannot unmarshal {said} into Go value of type []handlers.jsonPatchOp"
        )
    document: Any = copy.deepcopy(obj)
    for operation in operations:
        document = _apply(document, operation)
    if not isinstance(document, dict):
        raise _impossible("the document is no object any more")
    return document


def _apply(document: Any, operation: Any) -> Any:
    if not isinstance(operation, dict) or not isinstance(operation.get("op", ""), str):
        said = type_name(operation)
        raise bad_request(
            f"error decoding patch: json: cannot unmarshal {said} into Go value of type handlers.jsonPatchOp"
        )
    # A value that is left out is null.
    kind, path, value = operation.get("op"), _steps(operation, "path"), operation.get("value")
    match kind:
        case "test":
            if (_get(document, path) if value is not None else _lenient(document, path)) != value:
                raise _impossible(f"testing value {operation['path']} failed")
            return document
        case "remove":
            return _remove(document, path)
        case "add":
            return _add(document, path, copy.deepcopy(value))
        case "replace":
            return _replace(document, path, copy.deepcopy(value))
        case "move":
            source = _steps(operation, "from")
            moved = _get(document, source)
            return _add(_remove(document, source), path, moved)
        case "copy":
            return _add(document, path, copy.deepcopy(_lenient(document, _steps(operation, "from"))))
    raise _impossible(f"unexpected kind: {kind}")


def _steps(operation: Object, field: str) -> list[str]:
    pointer = operation.get(field)
    if not isinstance(pointer, str) or (pointer and "/" not in pointer):
        raise _impossible(f"{field} of {operation} is not a JSON pointer")
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _replace(document: Any, path: list[str], value: Any) -> Any:
    """Unlike RFC 6902, the API server replaces what an object does not have, too: it adds it."""
    if not path:
        return value
    parent = _get(document, path[:-1])
    if isinstance(parent, list):
        parent[_index(parent, path[-1], len(parent) - 1)] = value
        return document
    return _add(document, path, value)


def _lenient(document: Any, path: list[str]) -> Any:
    """What is copied; unlike in RFC 6902, null when an object does not have it."""
    parent = _get(document, path[:-1]) if path else None
    if isinstance(parent, dict) and path[-1] not in parent:
        return None
    return _get(document, path)


def _get(document: Any, path: list[str]) -> Any:
    for step in path:
        if isinstance(document, list):
            document = document[_index(document, step, len(document) - 1)]
        elif isinstance(document, dict) and step in document:
            document = document[step]
        else:
            raise _impossible(f"the path /{'/'.join(path)} does not exist")
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent, last = _get(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(parent, last, len(parent)), value)
    elif isinstance(parent, dict):
        parent[last] = value
    else:
        raise _impossible(f"/{'/'.join(path[:-1])} is neither an object nor a list")
    return document


def _remove(document: Any, path: list[str]) -> Any:
    _get(document, path)
    if not path:
        raise _impossible("the whole document cannot be removed")
    parent, last = _get(document, path[:-1]), path[-1]
    del parent[_index(parent, last, len(parent) - 1) if isinstance(parent, list) else last]
    return document


def _index(items: list[Any], step: str, highest: int) -> int:
    """A place in a list; as in the API server, -1 is the last one."""
    if not step.removeprefix("-").isdigit() or not -len(items) <= int(step) <= highest or step[:1] == "0" != step:
        raise _impossible(f"{step} is no index of a list of {len(items)}")
    return int(step)


def _impossible(message: str) -> ApiError:
    return ApiError(422, "Invalid", f"the server rejected our request due to an error in our request: {message}", {})


def type_name(value: Any) -> str:
    """What Go's decoder calls a JSON value."""
    kinds = ((bool, "bool"), (str, "string"), (int | float, "number"), (list, "array"), (dict, "object"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")
