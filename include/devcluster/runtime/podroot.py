"""A root file system for one container, from the host's folders and the container's mounts.

Called in the container's first process, inside its own mount and process-id namespaces. Linux only; works without
privileges inside a user namespace.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from typing import TypedDict

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "ppc64le": 203, "riscv64": 41, "s390x": 217}


class Mount(TypedDict):
    """`source` on the host appears at `target` in the container."""

    source: str
    target: str
    readonly: bool


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def unshare(flags: int) -> None:
    """Leave the namespaces in `flags` for new ones. Raises OSError where that is refused."""
    _check(_libc().unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    """Enter the namespace of an open /proc/PID/ns file."""
    _check(_libc().setns(fd, kind), "setns")


def prctl(option: int, value: int) -> None:
    """prctl(2) on Linux; elsewhere nothing."""
    if sys.platform == "linux":
        _check(_libc().prctl(option, value, 0, 0, 0), "prctl")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). Raises OSError."""
    _check(
        _libc().mount(
            source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), data.encode() or None
        ),
        f"mount {target}",
    )


def enter_user_namespace(uid: int, gid: int) -> None:
    """New user namespace in which the user keeps its ids; gives the right to mount."""
    unshare(CLONE_NEWUSER)
    for file, line in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{file}", "w") as handle:
            handle.write(line)


def enter(new_root: str, mounts: list[Mount], hidden: list[str]) -> None:
    """Make `new_root` (an empty folder) the root: the host's, with mounts put in and hidden paths taken out.

    Mount points that the host lacks exist only in the new root: the folder they belong to is rebuilt on a tmpfs with
    its entries bound in, one by one, so nothing is ever made on the host.
    """
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    mount("tmpfs", new_root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    targets = [(os.path.realpath(m["target"]), m) for m in sorted(mounts, key=lambda m: m["target"])]
    rebuilt = {"/"}
    for target, _ in targets:
        if not os.path.exists(target):
            folder = os.path.dirname(target)
            while not os.path.isdir(folder):
                folder = os.path.dirname(folder)
            while folder != "/":
                rebuilt.add(folder)
                folder = os.path.dirname(folder)
    _rebuild("/", new_root, rebuilt)
    for target, item in targets:
        _bind(item["source"], new_root + target, readonly=item["readonly"])
    for path in hidden:
        _hide(new_root + os.path.realpath(path))
    _pivot(new_root)


def _rebuild(folder: str, new_root: str, rebuilt: set[str]) -> None:
    for entry in os.scandir(folder):
        here, there = entry.path, new_root + entry.path
        if here == "/proc":
            os.mkdir(there)
            mount("proc", there, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        elif entry.is_symlink():
            os.symlink(os.readlink(here), there)
        elif here in rebuilt:
            os.mkdir(there)
            os.chmod(there, stat.S_IMODE(entry.stat().st_mode))
            _rebuild(here, new_root, rebuilt)
        else:
            try:
                _bind(here, there, readonly=False)
            except PermissionError:
                continue  # what this user may not even look at is not missed


def _bind(source: str, target: str, *, readonly: bool) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.lexists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    mount(source, target, flags=MS_BIND | MS_REC)
    if readonly:
        # a remount must keep what the source's file system forbids
        kept = os.statvfs(target).f_flag & (os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC)
        mount("none", target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY | kept)


def _hide(path: str) -> None:
    if os.path.isdir(path):
        mount("tmpfs", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV, "mode=000,size=0")
    elif os.path.exists(path):
        mount("/dev/null", path, flags=MS_BIND)


def _pivot(new_root: str) -> None:
    os.chdir(new_root)
    number = _PIVOT_ROOT[os.uname().machine]
    # the old root ends up on top of the new one and is taken off: pivot_root(2), "pivot_root(".", ".")"
    _check(_libc().syscall(number, b".", b"."), "pivot_root")
    _check(_libc().umount2(b".", MNT_DETACH), "umount the old root")
    os.chdir("/")
