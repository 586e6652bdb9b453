"""Command line: `python -m include.devcluster --config FILE`, and `… drain --config FILE`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from include.devcluster.config import load
from include.devcluster.core.errors import DevClusterError
from include.devcluster.drain import drain
from include.devcluster.server import serve


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m include.devcluster", description=__doc__)
    parser.add_argument("command", nargs="?", choices=("serve", "drain"), default="serve",
                        help="serve: run the cluster; drain: end the processes of all its pods")  # fmt: skip
    parser.add_argument("--config", type=Path, required=True, help="configuration file (YAML)")
    parser.add_argument("--grace", type=float, default=5.0, help="drain: seconds between SIGTERM and SIGKILL (5)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        config = load(options.config)
        if options.command == "drain":
            ended = drain(config.root, options.grace)
            print(f"ended {ended} containers")
        else:
            asyncio.run(serve(config))
    except DevClusterError as error:
        print(f"dev cluster: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
