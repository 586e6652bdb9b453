"""Runs a command that refuses to run as root, when root it is.

First choice is a user namespace in which root's own identity has another number: the command keeps root's access to
root's files (a checkout below a folder of mode 0700 included), has no capability, and needs no other user's files.
Where such namespaces are refused (in most containers), the command runs as `nobody`, with the one capability that
lets it reach its files.
"""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from include.stack.errors import ServiceError

NOBODY = 65534
_NAMESPACE = ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--")
_CAPABILITY = "+dac_override"
_NOBODY = (
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    f"--inh-caps={_CAPABILITY}",
    f"--ambient-caps={_CAPABILITY}",
    "--",
)


@cache
def prefix() -> tuple[str, ...]:
    """What to put before the command; empty when this user is not root.

    :raises ServiceError: neither way works on this machine.
    """
    if os.geteuid() != 0:
        return ()
    for candidate in (_NAMESPACE, _NOBODY):
        if _works(candidate):
            return candidate
    raise ServiceError(
        "PostgreSQL does not run as root, and this machine allows neither user namespaces nor a change of user. "
        "Start Podium as another user"
    )


def own(folder: Path) -> None:
    """Give a folder and all in it to the user that the command runs as."""
    if os.geteuid() != 0:
        return
    owner = NOBODY if prefix() == _NOBODY else 0
    if folder.exists() and folder.stat().st_uid != owner:
        for path in (folder, *folder.rglob("*")):
            os.lchown(path, owner, owner)


def _works(candidate: tuple[str, ...]) -> bool:
    if shutil.which(candidate[0]) is None:
        return False
    probe = subprocess.run([*candidate, "id", "-u"], capture_output=True, text=True, check=False)
    return probe.returncode == 0 and probe.stdout.strip() == str(NOBODY)
