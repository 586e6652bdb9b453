"""Households that were erased: a list of pseudonyms in the lake, by which whatever is read again leaves them out.

The list says who must not come back, and tells nobody who that is: only the key of `Pseudonyms` leads from a household
to its pseudonym.
"""

import datetime as dt
from collections.abc import Callable
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError

from include.jobs.lake.catalog import ensure_table
from include.jobs.lake.named import households_in
from include.jobs.lake.pseudonyms import Pseudonyms
from include.jobs.lake.tables import ERASURES

#: The column that names a household, in every table that does.
HOUSEHOLD = "household_id"


class Erased:
    """The households that are erased, as of a moment."""

    def __init__(self, is_erased: Callable[[int], bool], pseudonyms: frozenset[str] = frozenset()) -> None:
        self._is_erased = is_erased
        self._known: dict[int, bool] = {}
        self.pseudonyms = pseudonyms

    @classmethod
    def load(cls, catalog: SqlCatalog) -> Self:
        """Those on the list as it is now, see `of`."""
        return cls.of(listed_pseudonyms(catalog))

    @classmethod
    def of(cls, listed: frozenset[str]) -> Self:
        """Those whose pseudonyms are listed. Without any nobody is erased, and no key is needed.

        Raises:
            ConnectionSettingsError: there is a list and no key.
        """
        if not listed:
            return cls(lambda _: False)
        make = Pseudonyms.from_environment()
        return cls(lambda household: make.household(household) in listed, listed)

    @classmethod
    def only(cls, household_id: int) -> Self:
        """This one household."""
        return cls(lambda household: household == household_id, frozenset({str(household_id)}))

    def __bool__(self) -> bool:
        return bool(self.pseudonyms)

    def __contains__(self, household_id: int) -> bool:
        found = self._known.get(household_id)
        if found is None:
            found = self._known[household_id] = self._is_erased(household_id)
        return found

    def rows(self, households: pa.Array) -> pa.Array:
        """Which rows of a column of household ids are erased: booleans, false for null."""
        gone = [each for each in pc.unique(households).to_pylist() if each is not None and each in self]
        return pc.is_in(households, pa.array(gone, households.type))

    def raw(self, keys: pa.Array, values: pa.Array, details: pa.Array, *, whole: bool = True) -> pa.Array:
        """Which raw records (binary key and value, and why they are broken) name an erased household: booleans.

        Why one is broken tells the household of a value that does not show it, as Avro's do not. `whole`: see
        `households_in`.
        """
        records = zip(keys.to_pylist(), values.to_pylist(), details.to_pylist(), strict=True)
        named = (
            households_in(key, value, whole=whole) | households_in(None, detail.encode(), whole=False)
            for key, value, detail in records
        )
        return pa.array([any(each in self for each in households) for households in named], pa.bool_())


def listed_pseudonyms(catalog: SqlCatalog) -> frozenset[str]:
    """The list as it is now."""
    try:
        table = catalog.load_table(ERASURES.identifier)
    except NoSuchTableError:
        return frozenset()
    return frozenset(table.scan(selected_fields=("pseudonym",)).to_arrow()["pseudonym"].to_pylist())


def put_on_list(catalog: SqlCatalog, pseudonym: str) -> None:
    """Put a pseudonym on the list, unless it is there."""
    table = ensure_table(catalog, ERASURES)
    if pseudonym not in listed_pseudonyms(catalog):
        row = {"pseudonym": pseudonym, "requested_at": dt.datetime.now(dt.UTC)}
        table.append(pa.Table.from_pylist([row], schema=ERASURES.arrow_schema))
