"""
Run a command under the system-call filters of a systemd unit.

    python confined.py <unit> <command> [<argument> ...]

It loads the same seccomp filters as systemd does, which needs no privileges. So tests can check
a unit's restrictions on a machine without systemd.
"""

import ctypes
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from ctypes import POINTER, Structure, c_char_p, c_int, c_uint, c_uint32, c_uint64, c_void_p
from pathlib import Path

Settings = list[tuple[str, str]]


def settings(unit: str) -> Settings:
    """The settings of a unit as pairs of name and value, in order; names may repeat."""
    lines = (line.partition("=") for line in unit.splitlines() if line[:1].isalpha())
    return [(name, value) for name, _, value in lines]


def values(unit: Settings, name: str) -> list[str]:
    return [value for each, value in unit if each == name]


def allowed_calls(unit: Settings) -> set[str]:
    """The names of the system calls that the unit allows."""
    sets = _sets()
    allowed: set[str] = set()
    for value in values(unit, "SystemCallFilter"):
        if value.startswith("~"):
            allowed -= {call for name in value[1:].split() for call in _calls(name, sets)}
        else:
            names = ["@default", *value.split()]
            allowed |= {call for name in names for call in _calls(name, sets)}
    return allowed


def _sets() -> dict[str, list[str]]:
    """What systemd's sets of system calls, such as `@system-service`, consist of."""
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter"], check=True, capture_output=True, text=True
    ).stdout
    sets: dict[str, list[str]] = {}
    for line in listed.splitlines():
        if line.startswith("@"):
            members = sets[line] = []
        elif line.startswith(" ") and not line.lstrip().startswith("#"):
            members.append(line.strip())
    return sets


def _calls(name: str, sets: Mapping[str, list[str]]) -> Iterator[str]:
    """The system calls of a set, with those of its nested sets, or the one call of this name."""
    if not name.startswith("@"):
        yield name
        return
    for each in sets[name]:
        yield from _calls(each, sets)


class Comparison(Structure):
    """libseccomp's `scmp_arg_cmp`: a comparison of a system call's argument."""

    _fields_ = [("arg", c_uint), ("op", c_int), ("a", c_uint64), ("b", c_uint64)]


LESS, EQUAL, GREATER, MASKED_EQUAL = 2, 4, 6, 7
ALLOW = 0x7FFF0000
REFUSE = 0x00050000 | errno.EPERM

PROT_EXEC, PROT_WRITE, SHM_EXEC = 4, 2, 0o100000


class Filter:
    """A seccomp filter, built by libseccomp."""

    def __init__(self, default: int) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
        self._library.seccomp_init.argtypes = [c_uint32]
        self._library.seccomp_init.restype = c_void_p
        self._library.seccomp_syscall_resolve_name.argtypes = [c_char_p]
        self._library.seccomp_rule_add_array.argtypes = [
            *(c_void_p, c_uint32, c_int, c_uint, POINTER(Comparison)),
        ]
        self._library.seccomp_load.argtypes = [c_void_p]
        self._context = self._library.seccomp_init(default)

    def add(self, action: int, call: str, *comparisons: Comparison) -> None:
        number = self._library.seccomp_syscall_resolve_name(call.encode())
        if number == -1:
            return  # unknown to this version of libseccomp, and so not allowed
        array = (Comparison * len(comparisons))(*comparisons)
        self._check(
            self._library.seccomp_rule_add_array(
                self._context, action, number, len(comparisons), array
            )
        )

    def load(self) -> None:
        self._check(self._library.seccomp_load(self._context))

    @staticmethod
    def _check(result: int) -> None:
        if result < 0:
            raise OSError(-result, os.strerror(-result))


def confine(unit: Settings) -> None:
    """Apply the restrictions of a unit to this process and its future children."""
    call_filter = Filter(REFUSE)
    for call in allowed_calls(unit):
        call_filter.add(ALLOW, call)
    if values(unit, "MemoryDenyWriteExecute") == ["yes"]:
        _deny_write_execute()
    _restrict_families(
        [f for value in values(unit, "RestrictAddressFamilies") for f in value.split()]
    )
    call_filter.load()  # the last one, because it may forbid to load another


def _deny_write_execute() -> None:
    both = PROT_WRITE | PROT_EXEC
    denied = Filter(ALLOW)
    denied.add(REFUSE, "mmap", Comparison(2, MASKED_EQUAL, both, both))
    denied.add(REFUSE, "mprotect", Comparison(2, MASKED_EQUAL, PROT_EXEC, PROT_EXEC))
    denied.add(REFUSE, "pkey_mprotect", Comparison(2, MASKED_EQUAL, PROT_EXEC, PROT_EXEC))
    denied.add(REFUSE, "shmat", Comparison(2, MASKED_EQUAL, SHM_EXEC, SHM_EXEC))
    denied.load()


def _restrict_families(names: list[str]) -> None:
    left = sorted(getattr(socket, name) for name in names)
    denied = Filter(ALLOW)
    denied.add(REFUSE, "socket", Comparison(0, LESS, left[0]))
    denied.add(REFUSE, "socket", Comparison(0, GREATER, left[-1]))
    for family in {*range(left[0], left[-1])} - {*left}:
        denied.add(REFUSE, "socket", Comparison(0, EQUAL, family))
    denied.load()


if __name__ == "__main__":
    confine(settings(Path(sys.argv[1]).read_text()))
    os.execvp(sys.argv[2], sys.argv[2:])
