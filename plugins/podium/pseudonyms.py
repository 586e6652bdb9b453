"""Names of people as keyed hashes: the same person has the same pseudonym, and without the key nobody finds the person.

The jobs make theirs in the same way (`include/jobs/lake/pseudonyms.py`), with the key from the Secret.
"""

import hashlib
import hmac
from functools import cache

from podium.platform import settings


def pseudonym(kind: str, name: str) -> str:
    """The pseudonym of somebody: HMAC-SHA-256 of `<kind>:<name>`, the first 32 hexadecimal digits.

    :param kind: `user` or `household`.
    :raises AirflowNotFoundException: there is no connection that holds the key.
    """
    return hmac.new(_key(), f"{kind}:{name}".encode(), hashlib.sha256).hexdigest()[:32]


@cache
def _key() -> bytes:
    from airflow.sdk import BaseHook

    return (BaseHook.get_connection(settings().airflow.pseudonyms_connection_id).password or "").encode()
