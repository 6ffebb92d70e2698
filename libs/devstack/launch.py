"""Runs one program tied to its starter's life, if wanted as another user. A script, started by its path.

    python -I launch.py PARENT_PID SIGNAL UID GID PATH... -- PROGRAM ARGUMENT...

The program gets SIGNAL when the starter dies, however it dies, so no kill -9 leaves a database behind. UID 0 keeps
the user. Otherwise the user changes (PostgreSQL refuses to run as root), and where that user may not reach one of the
PATHs, because a parent folder such as /root is closed, the program keeps the one capability that lets it pass closed
folders. PostgreSQL asks access() for its own programs, which leaves capabilities out for any user but root, unless the
"no fixup" bit is set. Opening those folders to everybody would be the alternative; nothing outside the data folder is
changed.
Tying and passing closed folders exist on Linux only. Standard library only: it runs with an isolated interpreter.
"""

import ctypes
import os
import sys

_SET_PARENT_DEATH_SIGNAL, _SET_KEEP_CAPABILITIES, _SET_SECURE_BITS, _AMBIENT, _AMBIENT_RAISE = 1, 8, 28, 47, 2
_NO_SETUID_FIXUP = 1 << 2
_PASS_AND_READ, _PASS_READ_AND_WRITE = 2, 1  # CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _checked(outcome: int, what: str) -> None:
    if outcome != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _reachable(path: str, uid: int, gid: int) -> bool:
    """Whether the user may enter every folder on the way to the path."""
    for folder in _parents(os.path.realpath(path)):
        status = os.stat(folder)
        bit = 0o100 if status.st_uid == uid else 0o010 if status.st_gid == gid else 0o001
        if not status.st_mode & bit:
            return False
    return True


def _parents(path: str) -> list[str]:
    parents = [path if os.path.isdir(path) else os.path.dirname(path)]
    while parents[-1] != "/":
        parents.append(os.path.dirname(parents[-1]))
    return parents


def _keep_capability(uid: int, gid: int) -> None:
    """Changes the user and keeps the capability to pass closed folders."""
    _checked(_libc.prctl(_SET_SECURE_BITS, _NO_SETUID_FIXUP, 0, 0, 0), "let access() heed capabilities")
    _checked(_libc.prctl(_SET_KEEP_CAPABILITIES, 1, 0, 0, 0), "keep capabilities")
    _change_user(uid, gid)
    header, sets = _Header(_CAPABILITY_VERSION_3, 0), (_Sets * 2)()
    _checked(_libc.capget(ctypes.byref(header), sets), "read capabilities")
    held = next((c for c in (_PASS_AND_READ, _PASS_READ_AND_WRITE) if sets[0].permitted & (1 << c)), None)
    if held is None:
        raise PermissionError("the user PostgreSQL runs as may not enter the folders on the way to its files")
    for half, bits in ((0, 1 << held), (1, 0)):
        sets[half].effective = sets[half].permitted = sets[half].inheritable = bits
    _checked(_libc.capset(ctypes.byref(header), sets), "set capabilities")
    _checked(_libc.prctl(_AMBIENT, _AMBIENT_RAISE, held, 0, 0), "raise the ambient capability")


def _change_user(uid: int, gid: int) -> None:
    os.setgroups([gid])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def main() -> None:
    """Replaces this process by the program."""
    split = sys.argv.index("--")
    parent, death_signal, uid, gid = (int(word) for word in sys.argv[1:5])
    paths, program = sys.argv[5:split], sys.argv[split + 1 :]
    if uid:
        if sys.platform != "linux" or all(_reachable(path, uid, gid) for path in paths):
            _change_user(uid, gid)
        else:
            _keep_capability(uid, gid)
    if sys.platform == "linux":
        _checked(_libc.prctl(_SET_PARENT_DEATH_SIGNAL, death_signal, 0, 0, 0), "tie to the starter")
    if os.getppid() != parent:
        raise SystemExit("the starter is gone")
    os.execv(program[0], program)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main()
