"""The text form of label selectors: `app=shop,tier in (a, b),!canary,size>3`, parsed as the API server does."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from include.devcluster.core.errors import bad_request
from include.devcluster.validation import formats

Test = Callable[[Mapping[str, str]], bool]
_TOKEN = re.compile(r"\s*(?:(?P<op>==|=|!=|!|[(),<>])|(?P<word>[^\s=!(),<>]+))")
_OPERATORS = ("in", "notin", "=", "==", "!=", "<", ">")


class SelectorError(ValueError):
    """A selector that says nothing; the message is that of the API server."""


@dataclass
class _Parser:
    tokens: list[str]
    at: int = 0

    def look(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.look()
        self.at += 1
        return token

    def requirements(self) -> list[Test]:
        found: list[Test] = []
        while True:
            token = self.look()
            if not token:
                return found
            if not (_is_word(token) or token == "!"):
                raise SelectorError(f"found '{token}', expected: !, identifier, or 'end of string'")
            found.append(self._requirement())
            after = self.take()
            if not after:
                return found
            if after != ",":
                raise SelectorError(f"found '{after}', expected: ',' or 'end of string'")
            following = self.look()
            if not (_is_word(following) or following == "!"):
                raise SelectorError(f"found '{following}', expected: identifier after ','")

    def _requirement(self) -> Test:
        try:
            return self._parsed()
        except SelectorError as error:
            raise SelectorError(f"unable to parse requirement: {error}") from error

    def _parsed(self) -> Test:
        absent = self.look() == "!"
        if absent:
            self.take()
        key = self.take()
        if not _is_word(key):
            raise SelectorError(f"found '{key}', expected: identifier")
        for wrong in formats.qualified_name(key):
            raise SelectorError(f'<nil>: Invalid value: "{key}": {wrong}')
        if absent:
            return lambda found: key not in found
        operator = self.look()
        if operator in ("", ","):
            return lambda found: key in found
        self.take()
        if operator in ("in", "notin"):
            return self._among(key, operator)
        if operator not in _OPERATORS:
            raise SelectorError(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")
        return self._against(key, operator)

    def _among(self, key: str, operator: str) -> Test:
        if (token := self.take()) != "(":
            raise SelectorError(f"found '{token}' expected: '('")
        values: list[str] = [""]
        while (token := self.take()) != ")":
            if token == ",":
                values.append("")
            elif _is_word(token) and not values[-1]:
                values[-1] = token
            else:
                raise SelectorError(f"found '{token}', expected: ',' or ')'")
        _check(key, *values)
        # as the real one: notin also selects objects without the label
        return (lambda f: f.get(key) in values) if operator == "in" else (lambda f: f.get(key) not in values)

    def _against(self, key: str, operator: str) -> Test:
        value = "" if self.look() in ("", ",") else self.take()
        if value and not _is_word(value):
            raise SelectorError(f"found '{value}', expected: identifier")
        if operator in ("<", ">"):
            if not re.fullmatch(r"-?\d+", value):
                text = "for 'Gt', 'Lt' operators, the value must be an integer"
                raise SelectorError(f'values[0]: Invalid value: "{value}": {text}')
            limit = int(value)
            return lambda found: _compare(found.get(key), operator, limit)
        _check(key, value)
        return (lambda found: found.get(key) != value) if operator == "!=" else (lambda f: f.get(key) == value)


def _is_word(token: str) -> bool:
    return bool(token) and token[0] not in "=!(),<>"


def _check(key: str, *values: str) -> None:
    for place, value in enumerate(values):
        for wrong in formats.label_value(value):
            raise SelectorError(f'values[{place}][{key}]: Invalid value: "{value}": {wrong}')


def _compare(have: str | None, operator: str, limit: int) -> bool:
    try:
        value = int(have or "")
    except ValueError:
        return False
    return value > limit if operator == ">" else value < limit


def parse(text: str) -> Test:
    """Compile a label selector. Raises 400."""
    tokens = [match["op"] or match["word"] for match in _TOKEN.finditer(text)]
    try:
        tests = _Parser(tokens).requirements()
    except SelectorError as error:
        raise bad_request(str(error)) from error
    return lambda found: all(test(found) for test in tests)
