"""When the Odoo server was started: the same for all processes of one server."""

import os

import psutil

from odoo.service import server as service


def server_started_at() -> float | None:
    """
    When the main process of this Odoo server was started, in whole seconds since 1970.

    With `--workers`, that is the parent of all workers. A reload by SIGHUP does not change it,
    since the main process goes on. None when the operating system does not tell.

    The result is not cached: when the host's clock is set, the start moves with the clock, and
    workers that cached it before and after would tell different starts.
    """
    try:
        return float(int(psutil.Process(_main_pid()).create_time()))
    except (psutil.Error, OSError, RuntimeError, ValueError):
        return None


def _main_pid() -> int:
    server = service.server
    if isinstance(server, service.GeventServer):
        return _parent_of_gevent()
    # A worker is a fork, and so has its parent's object.
    return os.getpid() if server is None else server.pid


def _parent_of_gevent() -> int:
    """The parent's pid; this process's own pid when the parent is not Odoo's main process."""
    own, parent = psutil.Process(), psutil.Process(os.getppid())
    is_odoo = own.exe() == parent.exe() and os.getpgid(own.pid) == os.getpgid(parent.pid)
    return parent.pid if is_odoo else own.pid
