"""Text of others cannot move a terminal, break a line or turn one around."""

import pytest

from include.jobs.lake.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ü and 🏀", "plain, ü and 🏀"),
        ("\x1b[2J\r\n", "\\u001b[2J\\u000d\\u000a"),
        ("a\u202eb\u2028", "a\\u202eb\\u2028"),
        ("\x00\x7f\x9b", "\\u0000\\u007f\\u009b"),
    ],
)
def test_what_does_not_print_is_a_number(text: str, shown: str) -> None:
    assert printable(text) == shown
