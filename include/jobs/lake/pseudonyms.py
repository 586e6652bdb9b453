"""Names of people and households as keyed hashes: the same one has the same pseudonym, and only the key leads back.

The key is the file `pseudonym_key` of the mounted credentials. Airflow makes its pseudonyms in the same way.
"""

import hashlib
import hmac
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from include.jobs.lake.connections import read_credential, require


class Pseudonyms:
    """Makes pseudonyms with one key."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """With the mounted key.

        Raises:
            ConnectionSettingsError: it is missing or empty.
        """
        environ = os.environ if environ is None else environ
        return cls(read_credential(Path(require(environ, "PODIUM_CREDENTIALS_DIR")), "pseudonym_key"))

    def household(self, household_id: int) -> str:
        """The pseudonym of a household: HMAC-SHA-256 of `household:<id>`, the first 32 hexadecimal digits."""
        return hmac.new(self._key, f"household:{household_id}".encode(), hashlib.sha256).hexdigest()[:32]
