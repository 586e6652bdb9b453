"""Errors that the API answers with: each becomes a `metav1.Status` of the same code and reason."""

from __future__ import annotations

from include.devcluster.core.objects import Object


class DevClusterError(Exception):
    """The dev cluster cannot start or go on; the message says what to do."""


class ApiError(Exception):
    """An HTTP error of the API.

    :param code: HTTP status.
    :param reason: machine-readable reason, as in `metav1.StatusReason`.
    :param message: what the client's user reads.
    :param details: `metav1.StatusDetails`.
    """

    def __init__(self, code: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details

    def status(self) -> Object:
        """The body of the answer."""
        body: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if not self.reason:
            del body["reason"]
        if self.details is not None:
            body["details"] = self.details
        return body


def success(kind: str, group: str, name: str, uid: str) -> Object:
    """The `Status` that a finished delete answers with."""
    details: Object = {"name": name, "kind": kind, "uid": uid}
    if group:
        details["group"] = group
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def bad_request(message: str) -> ApiError:
    """400."""
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    """401: no token, or a wrong one."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(qualified: str, name: str, message: str) -> ApiError:
    """403 for an object; `qualified` is its resource, as `pods` or `mpijobs.kubeflow.org`."""
    return ApiError(403, "Forbidden", f'{qualified} "{name}" is forbidden: {message}', _about(qualified, name))


def _about(qualified: str, name: str) -> Object:
    kind, _, group = qualified.partition(".")
    return {key: value for key, value in (("name", name), ("group", group), ("kind", kind)) if value}


def unknown_path() -> ApiError:
    """404 for a path or a kind that is not served."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def not_found(qualified: str, name: str) -> ApiError:
    """404 for an object; `qualified` is its resource, as `pods` or `mpijobs.kubeflow.org`."""
    return ApiError(404, "NotFound", f'{qualified} "{name}" not found', _about(qualified, name))


def already_exists(qualified: str, name: str) -> ApiError:
    """409: the name is taken."""
    return ApiError(
        409,
        "AlreadyExists",
        f'{qualified} "{name}" already exists',
        _about(qualified, name),
    )


def conflict(qualified: str, name: str, message: str) -> ApiError:
    """409."""
    return ApiError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {qualified} "{name}": {message}',
        _about(qualified, name),
    )


def modified(qualified: str, name: str) -> ApiError:
    """409: the resourceVersion is an old one."""
    return conflict(
        qualified, name, "the object has been modified; please apply your changes to the latest version and try again"
    )


def precondition(kind: str, name: str, field: str, wanted: str | None, present: str, happened: str) -> ApiError:
    """409: a deletion that meant another (state of the) object."""
    return conflict(
        kind,
        name,
        f"the {field} in the precondition ({wanted}) does not match the {field} in record ({present}). "
        f"The object might have been {happened}",
    )


def gone(revision: int, oldest: int) -> ApiError:
    """410: the history does not reach back that far."""
    return ApiError(410, "Expired", f"too old resource version: {revision} ({oldest})")


_REASONS = {
    "Required value": "FieldValueRequired",
    "Unsupported value": "FieldValueNotSupported",
    "Duplicate value": "FieldValueDuplicate",
    "Forbidden": "FieldValueForbidden",
    "Not found": "FieldValueNotFound",
    "Too long": "FieldValueTooLong",
    "Too many": "FieldValueTooMany",
    "Internal error": "InternalError",
}


def invalid(kind: str, name: str, *causes: tuple[str, str], group: str = "") -> ApiError:
    """422 with one cause per (field, message); how a message begins says the reason."""
    listed = [{"reason": _reason(field, text), "message": text, "field": field} for field, text in causes]
    texts = list(dict.fromkeys(f"{field}: {text}" for field, text in causes))
    joined = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    about = {key: value for key, value in (("name", name), ("group", group), ("kind", kind)) if value}
    qualified = f"{kind}.{group}" if group else kind
    return ApiError(422, "Invalid", f'{qualified} "{name}" is invalid: {joined}', {**about, "causes": listed})


def _reason(field: str, text: str) -> str:
    if " in body must be of type " in text:
        return "FieldValueTypeInvalid"
    return next((reason for start, reason in _REASONS.items() if text.startswith(start)), "FieldValueInvalid")


def internal(message: str) -> ApiError:
    """500 with a message of Go's own, which has no reason."""
    return ApiError(500, "", message)


def not_acceptable(message: str) -> ApiError:
    """406: no answer of the shape that was asked for."""
    return ApiError(406, "NotAcceptable", message)


def not_allowed() -> ApiError:
    """405."""
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def unsupported_media(accepted: str) -> ApiError:
    """415."""
    return ApiError(
        415,
        "UnsupportedMediaType",
        f"the body of the request was in an unknown format - accepted media types include: {accepted}",
    )


def not_served(message: str) -> ApiError:
    """501: something a real cluster has and the dev cluster leaves out on purpose."""
    return ApiError(501, "NotImplemented", f"not served by the dev cluster: {message}")
