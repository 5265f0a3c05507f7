"""Facts about the machine that runs the benchmarks."""

import os
import platform
import sqlite3
import tempfile
from importlib.metadata import version
from pathlib import Path

import psutil

import wrk
from postgres import Postgres

__all__ = ["facts"]

_PACKAGES = ("httptools", "psycopg", "sqlalchemy", "starlette", "uvicorn", "uvloop")


def facts(postgres: Postgres) -> dict[str, str]:
    """The hardware, and the versions of all software that influences the figures."""
    return {
        "CPU": _cpu(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "kernel": platform.release(),
        "file system": _file_system(Path(tempfile.gettempdir()).resolve()),
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "PostgreSQL": postgres.sql("SHOW server_version"),
        "wrk": wrk.version(),
        **{name: version(name) for name in _PACKAGES},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _file_system(folder: Path) -> str:
    """The type of a folder's file system; on `tmpfs`, databases are unrealistically fast."""
    mounted = [p for p in psutil.disk_partitions(all=True) if folder.is_relative_to(p.mountpoint)]
    return max(mounted, key=lambda p: len(p.mountpoint)).fstype
