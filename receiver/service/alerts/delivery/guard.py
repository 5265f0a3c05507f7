"""
An audit hook that lets a process do no more than send a message over the network.

The process that sends a message runs code of others, with an address that somebody has typed in:
plugins that may follow redirects, read a file that the address names, or run a command. Whatever
they try, and however they find out where to connect to, Python reports it to the hook first, and
the hook raises an error.

The hook does not stop hostile code, which can do things that Python does not report. It stops other
code that an address makes do something else than send a message.
"""

import mimetypes
import os
import socket
import sys
import sysconfig
import zoneinfo
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import all_suffixes
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from receiver.domain.endpoints import Endpoints
from receiver.service.alerts.delivery.addresses import is_allowed

__all__ = ["Guard", "Refused"]


class Refused(PermissionError):
    """The hook does not allow what the process tried."""


class Guard:
    """
    An audit hook; see `sys.addaudithook`, after which it cannot be removed.

    It refuses connections to hosts that are not allowed, sockets that lead to no network, new
    processes, changes of files, and reading files that do not belong to Python or its packages.

    A host is allowed if the list includes it. A name is looked up only if it is included; the
    addresses that are found for it need not be on the list, but if they are special ones, such as
    loopback, they must have an entry of their own.

    Args:
        allowed: The hosts to which connections are allowed.

    Attributes:
        refusal: A sentence about the first connection or process that was refused; None before.
    """

    def __init__(self, allowed: Endpoints) -> None:
        self._allowed = allowed
        everywhere = Endpoints.of("0.0.0.0/0,::/0").networks
        self._resolved = Endpoints(allowed.names, (*allowed.networks, *everywhere))
        self._has_name = False
        self._readable = _real(_readable())
        self._importable = _real(_importable())
        self.refusal: str | None = None
        self._checks: dict[str, Callable[..., None]] = {
            "open": self._check_open,
            "socket.bind": self._check_family,
            "socket.connect": self._check_connect,
            "socket.getaddrinfo": self._check_name,
            "socket.gethostbyname": self._check_name,
            "socket.sendmsg": self._check_connect,
            "socket.sendto": self._check_connect,
            **dict.fromkeys(_PROCESSES, self._refuse_process),
            **dict.fromkeys(_CHANGES, self._refuse_change),
        }

    def allow_files(self) -> None:
        """Allow all files from now on, as tools that trace a process write some when it ends."""
        for event in ("open", *_CHANGES):
            del self._checks[event]

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        """Raise Refused unless an event, as Python reports it to audit hooks, is allowed."""
        check = self._checks.get(event)
        if check is not None:
            check(*args)

    def _check_name(self, host: str | bytes | None, *_: object) -> None:
        if host is None:
            return  # that stands for this machine, to which `_check_connect` lets nobody connect
        name = host if isinstance(host, str) else host.decode(errors="replace")
        if not is_allowed(name, self._allowed):
            self._refuse(f"connections to {name} are not allowed: see FLEET_ALERT_ADDRESSES")
        if not _is_address(name):
            self._has_name = True

    def _check_connect(self, sock: socket.socket, address: Any) -> None:
        if address is None:
            return  # the socket is connected, which was allowed
        self._check_family(sock, address)
        host = address[0]
        if not (isinstance(host, str) and _is_address(host)):
            # The system would look the name up after this check.
            self._refuse(f"connections to the name {host!r} are not allowed; use an IP address")
        if not is_allowed(host, self._resolved if self._has_name else self._allowed):
            self._refuse(f"connections to {host} are not allowed: see FLEET_ALERT_ADDRESSES")

    def _check_family(self, sock: socket.socket, _: Any) -> None:
        if sock.family not in {socket.AF_INET, socket.AF_INET6}:
            self._refuse("only connections over the network are allowed")

    def _check_open(self, path: Any, _: str | None, flags: int) -> None:
        if isinstance(path, int):
            return  # it is open already
        name = os.path.realpath(os.fsdecode(path))
        if name == os.devnull:
            return
        if flags & _WRITES:
            self._refuse_change(name)
        is_code = name.endswith(_SUFFIXES) and _is_within(name, self._importable)
        if not (is_code or _is_within(name, self._readable)):
            raise Refused(f"the file {name} may not be read")

    def _refuse_process(self, *_: object) -> None:
        self._refuse("other programs may not be started")

    def _refuse_change(self, *_: object) -> None:
        raise Refused("files may not be changed")

    def _refuse(self, sentence: str) -> None:
        self.refusal = self.refusal or sentence
        raise Refused(sentence)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _real(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple({os.path.realpath(each) for each in paths})


def _is_within(name: str, folders: Iterable[str]) -> bool:
    return any(name == each or name.startswith(each + os.sep) for each in folders)


def _importable() -> Iterator[str]:
    """The folders of packages; other files in them, which may be secret, must not be read."""
    # The folder in which a program is started is on the path too.
    return (each for each in sys.path if Path(each or ".").resolve() != Path.cwd())


def _readable() -> Iterator[str]:
    """The files and folders that code of Python and of its packages reads."""
    yield from sysconfig.get_paths().values()
    yield from (sys.prefix, sys.base_prefix)
    yield from _folders_of("contract", "receiver")
    yield from map(str, zoneinfo.TZPATH)
    yield from map(str, mimetypes.knownfiles)


def _folders_of(*packages: str) -> Iterator[str]:
    """Where packages are; importing them would take a third of the time of a webhook's message."""
    for spec in map(find_spec, packages):
        assert spec is not None, "they were installed together"
        yield from spec.submodule_search_locations or ()


_SUFFIXES = tuple(all_suffixes())
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_PROCESSES = (
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.startfile",
    "os.startfile/2",
    "os.system",
    "pty.spawn",
    "subprocess.Popen",
)

_CHANGES = (
    "os.chflags",
    "os.chmod",
    "os.chown",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "os.truncate",
    "os.utime",
    "shutil.chown",
    "shutil.copyfile",
    "shutil.copymode",
    "shutil.copystat",
    "shutil.copytree",
    "shutil.make_archive",
    "shutil.move",
    "shutil.rmtree",
    "shutil.unpack_archive",
    "tempfile.mkdtemp",
    "tempfile.mkstemp",
)
