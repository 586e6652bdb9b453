"""Errors that a job reports in one line: what failed, where, and how to mend it."""

import sys
from collections.abc import Callable
from typing import NoReturn, Self

#: Exit code for "nothing is wrong, but not yet": BSD's EX_TEMPFAIL. A retry later is the mend.
EXIT_TRY_LATER = 75


class JobError(Exception):
    """A failure whose text a tired person can act on. `exit_code` is what the process ends with."""

    exit_code = 1


class LakeError(JobError):
    """The lake, its catalog or its credentials cannot be used as asked."""

    @classmethod
    def no_table(cls, identifier: str) -> Self:
        """A table that must exist does not."""
        return cls(
            f"table {identifier} is not in the lake: run the DAG that makes it first "
            "(reference: ingest_reference; sales: ingest_transactions; features: build_features)"
        )


def run_main(main: Callable[[], None]) -> NoReturn:
    """Run a job's `main` and end the process; a `JobError` becomes its text on stderr, without a traceback."""
    try:
        main()
    except JobError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
    sys.exit(0)
