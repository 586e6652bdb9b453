"""How the jobs read their command lines."""

import argparse
from typing import Any


class Parser(argparse.ArgumentParser):
    """Takes options by their whole names only: an abbreviation means something else once there is another option.

    Parsers of sub-commands are of this class, too.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)
