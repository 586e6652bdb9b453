"""How much of a pod's log a task's own log holds already, as earlier triggerers have left it.

A triggerer may die at any moment, between two lines of a log that it copies. What it has shown by then stands in a file
of its own, one for each try of a task and each triggerer, and nowhere else: whatever it might note down beside would be
ahead of that file or behind it. So its successor reads the files. Where they cannot be read, because the log folder is
not shared, the lines in them are not shown either, and the copy begins anew.
"""

import glob
import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

from podium.hooks.pod_log import Mark

# The logger's name in an entry tells a pod's lines from those about it. What follows is the pod's uid, and the
# container where it is not the one that matters.
LOGGER: Final = "pod/"


def copied(ti: Any) -> dict[str, Mark]:
    """The place of the last line that is shown, by the pod's uid (and container).

    :param ti: the task instance, with the try that is at work.
    """
    from airflow.configuration import conf
    from airflow.utils.helpers import log_filename_template_renderer

    path = Path(conf.get("logging", "base_log_folder")) / log_filename_template_renderer()(ti=ti)
    # One file for each triggerer, as the triggerer names them.
    return read([Path(name) for name in glob.glob(f"{glob.escape(str(path))}.trigger.*.log")])


def read(files: list[Path]) -> dict[str, Mark]:
    """The same, from given files of JSON lines."""
    # A line is known by its timestamp; of lines with the very same one it counts how many there are.
    seen: dict[str, Counter[tuple[str, int]]] = {}
    for file in files:
        with file.open(encoding="utf-8", errors="backslashreplace") as lines:
            for line in lines:
                # Most files are about one pod, and only its lines are worth parsing.
                if LOGGER in line and (found := _place(line)):
                    uid, place = found
                    seen.setdefault(uid, Counter())[place.second, place.nanosecond] += 1
    return {uid: Mark(*last, places[last]) for uid, places in seen.items() for last in (max(places),)}


def _place(line: str) -> tuple[str, Mark] | None:
    try:
        entry = json.loads(line)
        logger = entry.get("logger") or ""
        return (logger.removeprefix(LOGGER), Mark.of(entry["timestamp"])) if logger.startswith(LOGGER) else None
    except (ValueError, KeyError, AttributeError):
        # The last line of a writer that was killed in the middle of it: it is not shown.
        return None
