"""The upkeep of tables that nobody writes: `python -m tests.chaos.upkeep TABLE…`, in the upkeep's environment."""

import json
import sys

from include.jobs.lake.connections import Connections
from include.jobs.lake.spark import lake_session
from include.jobs.upkeep.maintain import Policy, maintain_all


def main() -> None:
    """Expire all snapshots but those that branches name, then remove every orphan, however young; print what went."""
    spark = lake_session(Connections.from_environment())
    done = maintain_all(spark, sys.argv[1:], Policy(keep_s=0, keep_last=1, orphan_age_s=0, expire_only=True))
    spark.stop()
    json.dump(done, sys.stdout)


if __name__ == "__main__":
    main()
