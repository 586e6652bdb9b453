"""A table as the data frame that Great Expectations judges: every value as the table has it, bit for bit.

pandas makes floats of whole numbers, and objects of booleans, where one is missing: a number beyond 2**53 is another
one then. So columns of these have pandas' nullable types where something is missing. All others keep their plain types,
which hold what Arrow holds: timestamps keep their unit, and dates far away are dates.
"""

from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    import pandas as pd


def frame_of(table: pa.Table) -> "pd.DataFrame":
    """The table's rows; nothing is rounded, moved or lost."""
    # Imported here, because it takes a while: the rest of the image must not pay for it.
    import pandas as pd

    return pd.DataFrame({name: series_of(table[name]) for name in table.column_names})


def series_of(column: pa.ChunkedArray, *, nullable: bool | None = None) -> "pd.Series[Any]":
    """One column; `nullable` types only where something is missing, unless it is said."""
    import pandas as pd

    if not (column.null_count if nullable is None else nullable):
        return column.to_pandas()
    types = {
        pa.bool_(): pd.BooleanDtype(),
        pa.int8(): pd.Int8Dtype(),
        pa.int16(): pd.Int16Dtype(),
        pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.uint8(): pd.UInt8Dtype(),
        pa.uint16(): pd.UInt16Dtype(),
        pa.uint32(): pd.UInt32Dtype(),
        pa.uint64(): pd.UInt64Dtype(),
    }
    # Decimals would be objects, which have no mean where one is missing.
    kept = pd.ArrowDtype(column.type) if pa.types.is_decimal(column.type) else None
    return column.to_pandas(types_mapper=lambda kind: types.get(kind, kept))
