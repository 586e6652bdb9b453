"""A job that counts its own runs: `job.py FOLDER PHASE`. Standard library only; it runs as a pod's process.

It says a few lines, goes on until the file `gate` is there (in the phase `streaming` it talks all the while), says a
few more and leaves its result, which tells how many lines it said and how often it was run.
"""

import json
import os
import sys
import time
from pathlib import Path

# Slow enough that dozens of them do not keep the machine busy with their lines.
EVERY_S = 0.25


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    folder, phase = Path(sys.argv[1]), sys.argv[2]
    with (folder / "runs").open("a") as runs:
        runs.write(f"{os.getpid()}\n")
    said = 0

    def say() -> None:
        nonlocal said
        tell(f"line {said}.")
        said += 1

    for _ in range(5):
        say()
    while not (folder / "gate").exists():
        if phase == "streaming":
            say()
        time.sleep(EVERY_S)
    for _ in range(5):
        say()
    ran = len((folder / "runs").read_text().splitlines())
    result = json.dumps({"folder": folder.name, "lines": said, "ran": ran})
    if "PODIUM_XCOM_PATH" in os.environ:
        Path(os.environ["PODIUM_XCOM_PATH"]).write_text(result)
    else:
        # As metrics, for a search, and as a result.
        tell(f"lines={said}\nran={ran}")
        tell(f"PODIUM_RESULT {result}")


if __name__ == "__main__":
    main()
