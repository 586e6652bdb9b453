"""The core stays small enough to be read in an hour, and so does every controller."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

import pytest

pytestmark = pytest.mark.dev_only

SOURCE = Path(__file__).parents[2] / "include" / "devcluster"
CORE, CONTROLLER = 2000, 150
LAYOUT = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
    tokenize.ENCODING,
}  # fmt: skip


def code_lines(path: Path) -> int:
    """Lines that hold code: no blank ones, no comments, no docstrings."""
    text = path.read_text()
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docstrings |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in LAYOUT:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def test_the_core_is_read_in_an_hour() -> None:
    sizes = {path.name: code_lines(path) for path in (SOURCE / "core").glob("*.py")}
    assert sum(sizes.values()) <= CORE, sizes


def test_a_controller_is_short() -> None:
    controllers = [p for p in (SOURCE / "controllers").glob("*.py") if "(Controller):" in p.read_text()]
    sizes = {path.name: len(path.read_text().splitlines()) for path in controllers}
    assert len(sizes) >= 3
    assert max(sizes.values()) < CONTROLLER, sizes
