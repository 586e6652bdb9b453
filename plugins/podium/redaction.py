"""Hides credentials in texts that leave the cluster, in a failure that goes to Slack or to a pager.

Airflow's own masker hides the values that it knows (`airflow.sdk.log.redact`). This hides what looks like a credential:
by its name, its place or its form. What identifies data (digests, snapshots, runs) stays readable.
"""

import re
from typing import Final

HIDDEN: Final = "***"

_NAME: Final = (
    r"(?:pass(?:word|wd|phrase)|(?<=[_-])pass\b|pwd|secret|token(?!s\b)"
    r"|(?:access|api|private|account|shared|signing)[_-]?key)"
)
_QUOTED: Final = r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|\\\"(?:[^\"\\\n])*\\\""
# Words that follow the name of an option in a sentence about it.
_PROSE: Final = r"(?!(?:is|was|are|must|may|and|or|not|to|in|for|of|option|argument|required|missing|needs?)\b)"
_SIGNED: Final = (
    r"x-(?:amz|goog)-(?:signature|credential|security-token)|signature|sig|awsaccesskeyid|key-pair-id|policy|code|key"
    r"|access_token|id_token|refresh_token"
)
# Of GitHub, GitLab, Slack, Google, Stripe, OpenAI, Hugging Face, npm, PyPI.
_ISSUED: Final = (
    r"gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|xapp-|AIza|ya29\.|[sr]k_(?:live|test)_|sk-|hf_|npm_|pypi-"
)

_KEPT: Final = rf"\1{HIDDEN}"
_PATTERNS: Final = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Keys in PEM, whole or of which the beginning or the end is cut off.
        (
            r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)(?s:.*?)(-----END [A-Z ]*PRIVATE KEY-----|\Z)",
            rf"\1{HIDDEN}\2",
        ),
        (
            r"(?m)(?:^[ \t]*[A-Za-z0-9+/]{16,}={0,2}[ \t]*\n)+(?=[ \t]*-----END [A-Z ]*PRIVATE KEY)",
            f"{HIDDEN}\n",
        ),
        # scheme://user:password@host; a password may hold @ and /, a port is none.
        (r"(\w://[^\s:/@\"']*:)(?!\d+(?:[/?#\s\"']|$))[^\s\"']+@", rf"\1{HIDDEN}@"),
        (r"(\w://)[\w\-.]{20,}@", rf"\1{HIDDEN}@"),
        # Headers, to the end of their line or of their quotes.
        (r"(?i)(\b(?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?)[^\r\n\"']+", _KEPT),
        (r"(?i)(\b(?:set-)?cookie[\"']?\s*[:=]\s*[\"']?)[^\r\n\"']+", _KEPT),
        (r"(?i)(\bbearer\s+)(?=\S*\d|\S{16})[\w.~+/\-]+=*", _KEPT),
        (r"(\b[Bb]asic\s+)(?=\S*[\d=])[A-Za-z0-9+/]{6,}={0,2}", _KEPT),
        # Addresses that are signed: S3, GCS, CloudFront, Azure.
        (rf"(?i)([?&](?:{_SIGNED})=)[^&\s\"'<>]+", _KEPT),
        # An environment as a manifest has it.
        (rf"(?i)([\"']name[\"']:\s*[\"'][^\"']*{_NAME}[^\"']*[\"'],\s*[\"']value[\"']:\s*)(?:{_QUOTED})", _KEPT),
        # --password x, also as an element of a list; curl's -u user:password.
        (
            rf"(?i)((?<![\w-])--?[\w-]*{_NAME}[\w-]*(?:[\"']?,\s*|\s*=\s*|\s+)){_PROSE}"
            rf"(?:{_QUOTED}|[^\s\"',;&-][^\s\"',;&]*)",
            _KEPT,
        ),
        (r"((?<![\w-])(?:-u|--user|--proxy-user)[ =]?[\"']?[^\s:\"']+:)[^\s\"']+", _KEPT),
        # password=x, "password": "x", PGPASSWORD=x, password="x y"; in JAAS too.
        (rf"(?i)({_NAME}\w*\\?[\"']?\s*[=:]\s*)(?:{_QUOTED}|(?![\"'])[^\s,;&\"'}}\]]+)", _KEPT),
        # By their form: JSON web tokens, keys of AWS, what others issue.
        (r"\beyJ[\w-]{8,}(?:\.[\w-]*){2,4}", HIDDEN),
        (r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}\b", HIDDEN),
        (rf"\b(?:{_ISSUED})[\w-]{{16,}}", HIDDEN),
        (r"(hooks\.slack\.com/(?:services|workflows)/)[\w/]+", _KEPT),
    )
)


def redacted(text: str) -> str:
    """A text without what looks like a credential.

    >>> redacted("cannot reach postgresql://lake:hunter2@db/lake")
    'cannot reach postgresql://lake:***@db/lake'
    """
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
