"""
What the log looks like.

Each record is one line, whatever is in it; in text, what follows it is indented. It bears the
name of the request that was handled, and nobody's key.
"""

import logging
import re
import warnings
from abc import ABC, abstractmethod
from contextlib import ExitStack
from copy import copy
from datetime import datetime, timezone

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter
from uvicorn.logging import AccessFormatter, DefaultFormatter

from receiver.web.headers import request_id

__all__ = ["FORMATS", "Logs"]

FORMATS = ("text", "json")


class Logs:
    """
    The log of a process while a receiver runs in it.

    It goes where it went, by the handlers that are there. Where there are none but those of
    uvicorn, what others say goes to the standard error.
    """

    def __init__(self) -> None:
        self._before = ExitStack()

    def begin(self, log_format: str) -> None:
        """Let all handlers write in that format, and let the receiver be heard."""
        _open_where_closed(self._before)
        _capture_warnings(self._before)
        for handler in _handlers():
            before = _original(handler.formatter)
            now = _Json(before) if log_format == "json" else _Text(before)
            handler.setFormatter(now)
            self._before.callback(_put_back, handler, now)
        level = logging.getLogger("uvicorn.error").level or logging.INFO
        _hear("receiver", level, self._before)
        _hear("receiver.audit", logging.INFO, self._before)

    def end(self) -> None:
        """Put everything back."""
        self._before.close()


class _Careful(logging.Formatter, ABC):
    """Writes nobody's key. `before` is the formatter in whose place it is."""

    def __init__(self, before: logging.Formatter | None) -> None:
        super().__init__()
        self.before = before

    def format(self, record: logging.LogRecord) -> str:
        record = copy(record)
        name = request_id()
        if name is not None:
            record.request_id = name
        return _KEY.sub(r"\1***", self.write(record))

    @abstractmethod
    def write(self, record: logging.LogRecord) -> str:
        """A copy of a record, as it is written."""


class _Json(_Careful):
    def write(self, record: logging.LogRecord) -> str:
        return _JSON.format(record)


class _JsonLine(JsonFormatter):
    """JSON in ASCII, so that no character of a text can end a line."""

    def __init__(self) -> None:
        super().__init__(
            ["asctime", "levelname", "name", "message"],
            rename_fields={
                "asctime": "time",
                "levelname": "level",
                "name": "logger",
                "exc_info": "exception",
                "stack_info": "stack",
            },
            reserved_attrs=[*RESERVED_ATTRS, "color_message"],
        )

    def formatTime(  # noqa: N802 - the name is logging's
        self,
        record: logging.LogRecord,
        datefmt: str | None = None,  # noqa: ARG002 - logging's too
    ) -> str:
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Text(_Careful):
    """Lets the formatter that was there write, but each record as a line."""

    def write(self, record: logging.LogRecord) -> str:
        record.msg, record.args = _said(record, self.before)
        if type(self.before) not in _LINES:  # somebody's own, who knows what it writes
            assert self.before is not None  # which is one of them
            return self.before.format(record)
        follows = [
            *([self.formatException(record.exc_info)] if record.exc_info else []),
            *([self.formatStack(record.stack_info)] if record.stack_info else []),
        ]
        record.exc_info = record.exc_text = record.stack_info = None
        line = (self.before or logging.Formatter()).format(record)
        if hasattr(record, "request_id"):
            line += f" [{record.request_id}]"
        return "\n".join([line, *(_indented(each) for each in follows)])


_JSON = _JsonLine()
_LINES = (AccessFormatter, DefaultFormatter, logging.Formatter, type(None))
_KEY = re.compile(r"(fleetkey_[A-Za-z0-9]+_)[A-Za-z0-9_-]+")


def _said(
    record: logging.LogRecord, formatter: logging.Formatter | None
) -> tuple[str, tuple[object, ...]]:
    """The message and arguments of a record, without what could end a line."""
    if isinstance(formatter, AccessFormatter) and isinstance(record.args, tuple):
        args = [_in_one_line(each) if isinstance(each, str) else each for each in record.args]
        return record.msg, tuple(args)
    if hasattr(record, "color_message"):  # uvicorn's, with colours
        record.color_message %= record.args
    return _in_one_line(record.getMessage().rstrip()), ()


def _in_one_line(text: str) -> str:
    """With an escape for whatever moves the cursor, hides or cannot be written."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def _indented(text: str) -> str:
    return "\n".join(f"    {_in_one_line(line)}" for line in text.split("\n"))


def _handlers() -> set[logging.Handler]:
    """Those of all loggers."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    return {
        handler
        for logger in loggers
        if isinstance(logger, logging.Logger)
        for handler in logger.handlers
    }


def _original(formatter: logging.Formatter | None) -> logging.Formatter | None:
    """Without what another receiver in this process has put in its place."""
    return formatter.before if isinstance(formatter, _Careful) else formatter


def _put_back(handler: logging.Handler, now: _Careful) -> None:
    if handler.formatter is now:
        handler.setFormatter(now.before)


def _open_where_closed(before: ExitStack) -> None:
    """Let what nobody would write be written as uvicorn writes."""
    if logging.root.handlers:
        return
    uvicorn = logging.getLogger("uvicorn").handlers
    handler = logging.StreamHandler()
    colours = [getattr(each.formatter, "use_colors", None) for each in uvicorn]
    handler.setFormatter(
        DefaultFormatter("%(levelprefix)s %(name)s: %(message)s", use_colors=any(colours))
    )
    if uvicorn:  # which writes its own
        handler.addFilter(lambda record: not record.name.startswith("uvicorn"))
    logging.root.addHandler(handler)
    before.callback(logging.root.removeHandler, handler)


def _capture_warnings(before: ExitStack) -> None:
    shown = warnings.showwarning
    logging.captureWarnings(capture=True)
    if warnings.showwarning is not shown:
        before.callback(logging.captureWarnings, capture=False)


def _hear(name: str, level: int, before: ExitStack) -> None:
    """Let what a logger says from a level on be written, unless somebody has set another."""
    logger = logging.getLogger(name)
    if logger.level == logging.NOTSET:
        logger.setLevel(level)
        before.callback(logger.setLevel, logging.NOTSET)
