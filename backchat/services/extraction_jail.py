"""What a reader cannot reach, as far as the system allows it to give things up by itself. Linux only.

``enter`` takes what it can get of two things, and never fails:

namespaces  where the system lets users make some: no network; no other process can be seen or signalled, and none of
            its own outlives it; temporary files are in memory, and bounded together
Landlock    where the kernel has it: nothing is written but temporary files; nothing is read but what programs and
            libraries lie among, and files of its own; no TCP; other processes are out of reach

``man 7 user_namespaces``; https://docs.kernel.org/userspace-api/landlock.html says which version knows what.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NoReturn

SPACE = 128 << 20
FILES = 1000
"""Bytes and number of temporary files, where they are in memory."""
# What belongs to the system rather than to the server; what is not there is left out.
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/nix/store", "/gnu/store", "/dev", "/proc", "/sys", "/etc/ld.so.cache")
_USER, _PID, _NET, _IPC, _MOUNT = 0x10000000, 0x20000000, 0x40000000, 0x08000000, 0x00020000
_NO_NEW_PRIVILEGES, _DIE_WITH_PARENT = 38, 1
_CAPABILITIES = 0x20080522
_NOSUID_NODEV = 2 | 4
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _WRITE, _READ, _LIST, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_DEVICES = 1 << 6 | 1 << 11
_BENEATH = 1
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""Of files, by the version of Landlock that first knew them all."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def enter(folder: str, libraries: Iterable[str]) -> None:
    """``folder``: where temporary files go; ``libraries``: what may be read besides the system's own."""
    if sys.platform != "linux":
        return
    with suppress(Exception):
        libc = ctypes.CDLL(None, use_errno=True)
        if _in_namespaces(libc, folder):
            _as_the_last()
        _without_rights(libc)
        _behind_landlock(libc, folder, libraries)


def die_with_parent() -> None:
    """A server that is killed leaves no reader behind."""
    with suppress(Exception):
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)


def _in_namespaces(libc: ctypes.CDLL, folder: str) -> bool:
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_USER | _PID | _NET | _IPC | _MOUNT) != 0:
        return False
    with suppress(OSError):
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    options = f"size={SPACE},nr_inodes={FILES},mode=700".encode()
    libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", ctypes.c_ulong(_NOSUID_NODEV), options)
    return True


def _as_the_last() -> None:
    """Go on in a process that nothing outlives which it starts; this one says how that one ended.

    Two of them: the first in a namespace is immune to most signals, those of limits among them, so it only waits.
    """
    with suppress(OSError):
        for _ in range(2):
            if pid := os.fork():
                _pass_on(pid)
            die_with_parent()


def _pass_on(pid: int) -> NoReturn:
    try:
        os.closerange(0, 256)  # the other end is to see it when the reader closes its own
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        ended = -code if code < 0 else code - 128
        if ended > 0:
            with suppress(OSError, ValueError):
                signal.signal(ended, signal.SIG_DFL)
            os.kill(os.getpid(), ended)
        os._exit(128 + ended if ended > 0 else code)
    finally:
        os._exit(1)


def _without_rights(libc: ctypes.CDLL) -> None:
    """Making namespaces gave it all rights in them."""
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0)
    libc.capset(header, (ctypes.c_uint32 * 6)())


def _behind_landlock(libc: ctypes.CDLL, folder: str, libraries: Iterable[str]) -> None:
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if version < 1:
        return
    handled = _RIGHTS[max(v for v in _RIGHTS if v <= version)]
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = _Ruleset(handled, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), ctypes.c_uint32(0))
    if ruleset < 0:
        return
    installed = (sys.prefix, sys.base_prefix, *libraries, *_mapped(), *_linked())
    allowed = dict.fromkeys((*_SYSTEM, *installed), _EXECUTE | _READ | _LIST)
    allowed[os.devnull] = _READ | _WRITE | _TRUNCATE
    allowed[folder] = ~_DEVICES
    for path, rights in allowed.items():
        with suppress(OSError):
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            fitting = rights if os.path.isdir(path) else rights & (_EXECUTE | _READ | _WRITE | _TRUNCATE)
            rule = _Beneath(fitting & handled, place)
            libc.syscall(_ADD_RULE, ruleset, _BENEATH, ctypes.byref(rule), ctypes.c_uint32(0))
            os.close(place)
    libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0))
    os.close(ruleset)


def _mapped() -> set[str]:
    """Where the libraries lie that are loaded already: others may lie beside them."""
    with open("/proc/self/maps") as file:
        files = [line.split(None, 5)[5].strip() for line in file if "/" in line]
    return {os.path.dirname(path) for path in files if path.startswith("/")} - {"/"}


def _linked() -> Iterator[str]:
    """Where packages lie that setuptools has installed as links to their sources."""
    for name, module in list(sys.modules.items()):
        if name.startswith("__editable__"):
            yield from getattr(module, "MAPPING", {}).values()
            for places in getattr(module, "NAMESPACES", {}).values():
                yield from places
