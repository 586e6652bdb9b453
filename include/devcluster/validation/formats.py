"""The forms of names, as `k8s.io/apimachinery/pkg/util/validation` has them: each gives what is wrong with a text."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_NAME = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_KEY = "[-._a-zA-Z0-9]+"
_DNS_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"


def _said(what: str, pattern: str, *examples: str) -> str:
    listed = "".join(f"'{example}', " + (" or " if more else "") for example, more in _more(examples))
    return f"{what} (e.g. {listed}regex used for validation is '{pattern}')"


def _more(examples: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
    for place, example in enumerate(examples):
        yield example, place < len(examples) - 1


def dns_label(text: str) -> Iterator[str]:
    """RFC 1123 label: the name of a container, a volume, a namespace."""
    if len(text) > 63:
        yield "must be no more than 63 characters"
    if not re.fullmatch(_LABEL, text):
        yield _said(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "  # noqa: E501
            "with an alphanumeric character", _LABEL, "my-name", "123-abc",
        )  # fmt: skip


def dns_1035_label(text: str) -> Iterator[str]:
    """RFC 1035 label: the name of a service."""
    if len(text) > 63:
        yield "must be no more than 63 characters"
    if not re.fullmatch(_DNS_1035, text):
        yield _said(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
            "character, and end with an alphanumeric character", _DNS_1035, "my-name", "abc-123",
        )  # fmt: skip


def dns_subdomain(text: str) -> Iterator[str]:
    """RFC 1123 subdomain: the name of nearly everything."""
    if len(text) > 253:
        yield "must be no more than 253 characters"
    if not re.fullmatch(_SUBDOMAIN, text):
        yield _said(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "  # noqa: E501
            "and end with an alphanumeric character", _SUBDOMAIN, "example.com",
        )  # fmt: skip


def qualified_name(text: str) -> Iterator[str]:
    """`name` or `prefix/name`: the key of a label."""
    parts = text.split("/")
    if len(parts) > 2:
        yield (
            "a qualified name " + _said(
                "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
                "character", _NAME, "MyName", "my.name", "123-abc",
            ) + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        )  # fmt: skip
        return
    if len(parts) == 2:
        if not parts[0]:
            yield "prefix part must be non-empty"
        else:
            yield from (f"prefix part {wrong}" for wrong in dns_subdomain(parts[0]))
    if not parts[-1]:
        yield "name part must be non-empty"
    elif len(parts[-1]) > 63:
        yield "name part must be no more than 63 characters"
    if not re.fullmatch(_NAME, parts[-1]):
        yield "name part " + _said(
            "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
            "character", _NAME, "MyName", "my.name", "123-abc",
        )  # fmt: skip


def label_value(text: str) -> Iterator[str]:
    """The value of a label."""
    if len(text) > 63:
        yield "must be no more than 63 characters"
    if not re.fullmatch(_VALUE, text):
        yield _said(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "  # noqa: E501
            "and end with an alphanumeric character", _VALUE, "MyValue", "my_value", "12345",
        )  # fmt: skip


def config_key(text: str) -> Iterator[str]:
    """A key of a ConfigMap or a Secret."""
    if len(text) > 253:
        yield "must be no more than 253 characters"
    if not re.fullmatch(_KEY, text):
        yield _said(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            _KEY,
            "key.name",
            "KEY_NAME",
            "key-name",
        )
    if text in (".", ".."):
        yield f"must not be '{text}'"
    elif text.startswith(".."):
        yield "must not start with '..'"


def variable(text: str) -> Iterator[str]:
    """The name of an environment variable."""
    if not re.fullmatch(r"[ -<>-~]+", text):
        yield "a valid environment variable name must consist only of printable ASCII characters other than '='"


def header(text: str) -> Iterator[str]:
    """The name of an HTTP header."""
    if not re.fullmatch("[-A-Za-z0-9]+", text):
        yield _said(
            "a valid HTTP header must consist of alphanumeric characters or '-'", "[-A-Za-z0-9]+", "X-Header-Name"
        )


def port_name(text: str) -> Iterator[str]:
    """IANA service name: the name of a container's port."""
    if len(text) > 15:
        yield "must be no more than 15 characters"
    if not re.fullmatch("[-a-z0-9]+", text):
        yield "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
    if not re.search("[a-z]", text):
        yield "must contain at least one letter (a-z)"
    if "--" in text:
        yield "must not contain consecutive hyphens"
    if text[:1] == "-" or text[-1:] == "-":
        yield "must not begin or end with a hyphen"


def address(text: str) -> Iterator[str]:
    """An IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        yield "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
