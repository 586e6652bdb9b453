"""Finds in the end of a log the one line that says why: the deepest cause of a Java or Python trace, with the host."""

import re
from collections.abc import Sequence
from typing import Final

LONGEST: Final = 300

# A frame of a stack, which says where and never why.
FRAME: Final = re.compile(r"^\s+at [\w.$<>/@]+\(.*\)|^\s*\.\.\. \d+ (?:more|common frames)|^\s+File \"|^\s+[\^~]+\s*$")
TRACEBACK: Final = "Traceback (most recent call last):"
# `java.net.ConnectException: Connection refused`, `botocore.exceptions.ClientError: An error …`, `KeyError: 'x'`
RAISED: Final = re.compile(
    r"^(?:[\w\d\-:,./ \[\]|]*\b(?:ERROR|FATAL|CRITICAL)\b.*?)?(?:Caused by: |Exception in thread \"[^\"]*\" )?"
    r"(?P<what>(?:[A-Za-z_][\w$]*\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Failure|Throwable)\b(?:: .*)?)$"
)
CAUSED: Final = re.compile(r"^\s*Caused by: ")
# Levels of a log's lines: what is said calmly at the end is no reason.
CALM: Final = re.compile(r"\b(?:DEBUG|INFO|WARN|WARNING)\b")
ALARMED: Final = re.compile(r"\b(?:ERROR|FATAL|CRITICAL)\b")
CHAIN: Final = ("The above exception was the direct cause", "During handling of the above exception")
COMPLAINT: Final = re.compile(r"(?i)\b(?:error|failed|failure|fatal|refused|cannot|could not|denied|unable)\b")

_NAMED: Final = r"[\w\-]+(?:\.[\w\-]+)+"
HOST: Final = re.compile(
    r"\w+://(?:[^\s/@\"']*@)?(?P<url>[\w.\-\[\]]+(?::\d+)?)"
    r"|host='(?P<name>[\w.\-]+)', port=(?P<port>\d+)"
    r"|\"(?P<quoted>[\w.\-]+)\"(?: \([^)]*\))?, port (?P<quoted_port>\d+)"
    r"|(?:[Cc]onnect(?:ion)? to|server at|[Hh]ost|address|resolve|lookup|ipv[46]#|for)\W{0,3}"
    rf"(?P<to>[\w.\-]+:\d{{2,5}}|{_NAMED})(?:\"(?: \([^)]*\))?, port (?P<to_port>\d+))?"
    rf"|(?<![\w.:/])(?P<bare>(?:[A-Za-z][\w\-]*(?:\.[\w\-]+)*|\d{{1,3}}(?:\.\d{{1,3}}){{3}}):\d{{2,5}})(?![\w.:])"
)
# Words of an error that is about another service, so that a host belongs to it.
ELSEWHERE: Final = re.compile(
    r"(?i)connect|refused|timed? ?out|unreachable|resol|reset|transport|broker|metadata|endpoint|handshake|retries"
)


def cause(lines: Sequence[str]) -> str:
    """The line of a log that says why; empty when there is none.

    >>> cause(["Exception in thread main: x", "\\tat a.B(C.java:1)", "Caused by: java.io.IOException: disk full"])
    'java.io.IOException: disk full'
    """
    texts = [line.rstrip() for line in lines if line.strip()]
    chain = _last_chain(texts)
    if chain:
        why = _deepest(chain)
        beside = [*reversed(chain), *(text for text in reversed(texts) if COMPLAINT.search(text))]
        if ELSEWHERE.search(why) and not host(why):
            named = next((found for text in beside if ELSEWHERE.search(text) and (found := host(text))), "")
            why = f"{why} ({named})" if named else why
        return why[:LONGEST]
    said = [text.strip() for text in texts if not FRAME.match(text)]
    if said and CALM.search(said[-1]):
        said = [text for text in said if ALARMED.search(text)] or said
    return said[-1][:LONGEST] if said else ""


def without_frames(lines: Sequence[str]) -> list[str]:
    """Lines without the frames of Java's stacks, of which there are dozens to one that says something."""
    return [line for line in lines if not re.match(r"^\s+at |^\s*\.\.\. \d+ ", line)]


def host(text: str) -> str:
    """The host, with its port where there is one, that a text is about; empty when it names none."""
    for found in HOST.finditer(text):
        if found["name"]:
            return f"{found['name']}:{found['port']}"
        if found["to_port"] or found["quoted"]:
            return f"{found['to'] or found['quoted']}:{found['to_port'] or found['quoted_port']}"
        named = found["url"] or found["to"] or found["bare"]
        if named and not re.search(r"\.(?:py|java|scala|jar)(?::|$)", named):
            return str(named)
    return ""


def _last_chain(texts: list[str]) -> list[str]:
    """What was raised last: each exception that led to another, outermost first."""
    chain: list[str] = []
    python = False
    for before, text in zip(["", *texts], texts, strict=False):
        if text.startswith(CHAIN):
            python = True
            continue
        match = None if FRAME.match(text) else RAISED.match(text.strip())
        if match is None:
            continue
        if CAUSED.match(text):
            chain.append(match["what"])
        elif python:
            # Python tells the cause first.
            chain.insert(0, match["what"])
            python = False
        elif text.strip() == text or not before:
            chain = [match["what"]]
    return chain


def _deepest(chain: list[str]) -> str:
    """The cause of all: but an error without a word says less than the one that it led to."""
    told = [what for what in chain if ": " in what]
    return (told or chain)[-1]
