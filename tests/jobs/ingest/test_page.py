"""The page about an interval, from hostile events: they are text, and it loads and runs nothing."""

import re
from html.parser import HTMLParser

import pyarrow as pa
import pytest

from include.jobs.ingest.expectations import Suite
from include.jobs.ingest.page import rendered
from include.jobs.ingest.validate import explain
from include.jobs.lake.ledger import Interval
from tests.jobs.ingest.broker import at

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "</style></title><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "\"' onmouseover=alert(1) x='",
    "{{ 7 * 7 }}{% for x in y %}",
    "$value ${value} %s",
    "\x1b[31mred\x1b[2J\x07",
    "\u202egnp.exe\u2066",
    "\U0001f600 ü &lt;b&gt;",
]
TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "span", "table", "tr", "th", "td", "code"}


class Parsed(HTMLParser):
    """All tags with their attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page() -> str:
    rows = pa.table({"event_id": [text for text in HOSTILE for _ in range(2)], "shelf": HOSTILE * 2})
    expected = [
        {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "event_id"}},
        {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "shelf", "regex": "^<b>$"}},
        {"type": "expect_column_distinct_values_to_be_in_set", "kwargs": {"column": "shelf", "value_set": ["<a>"]}},
        {"type": "expect_column_most_common_value_to_be_in_set", "kwargs": {"column": "shelf", "value_set": ["a"]}},
    ]
    judgement = Suite("<suite>", 100, tuple(expected)).judge(rows, {})
    failed = [{"interval": "x", **entry} for entry in judgement.entries]
    assert not any(entry["success"] for entry in failed)
    told = explain({"success": False, "failed_expectations": failed, "evaluated": 4, "table": "t"})
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", told), "nothing moves a terminal"
    return rendered("sales.<b>", Interval(at(0), at(1)), 20, 20, judgement)


def test_no_tag_and_no_attribute_is_of_an_event(page: str) -> None:
    parsed = Parsed(page)
    assert {tag for tag, _ in parsed.tags} <= TAGS
    named = {name for _, attributes in parsed.tags for name in attributes}
    assert named <= {"lang", "charset", "http-equiv", "content", "name", "class"}
    for text in HOSTILE[:7]:
        assert text.replace('"', '\\"') in parsed.text, "shown as it is"
    assert "\\u001b[31mred" in parsed.text
    assert "\\u202egnp.exe" in parsed.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202a-\u202e]", page)


def test_it_loads_nothing_and_says_so_to_the_browser(page: str) -> None:
    assert not re.search(r"https?:|//[a-z]|url\(|@import", page)
    (policy,) = [attributes for _, attributes in Parsed(page).tags if "http-equiv" in attributes]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert "default-src 'none'" in str(policy["content"])
    assert "script" not in str(policy["content"])
