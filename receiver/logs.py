"""
Log formats: text or JSON, one line for each log record.

In text, a traceback follows its line, indented. A record that is logged while a request is
handled contains the `X-Request-ID` of the request. The secrets of keys are masked.
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
    The logging configuration of a process while a receiver runs in it.

    The handlers of all loggers stay, and get other formatters. If the root logger has no
    handler, it gets one that writes to standard error.
    """

    def __init__(self) -> None:
        self._undo = ExitStack()

    def begin(self, log_format: str) -> None:
        """
        Set the format of all handlers, `text` or `json`, and the level of the receiver's loggers.

        If the logger `receiver` has no level, it gets that of the logger `uvicorn.error`, which
        `--log-level` sets. If `receiver.audit` has no level, it gets INFO.
        """
        _add_root_handler(self._undo)
        _capture_warnings(self._undo)
        for handler in _handlers():
            replaced = _original(handler.formatter)
            formatter = _Json(replaced) if log_format == "json" else _Text(replaced)
            handler.setFormatter(formatter)
            self._undo.callback(_restore_formatter, handler, formatter)
        level = logging.getLogger("uvicorn.error").level or logging.INFO
        _set_default_level("receiver", level, self._undo)
        _set_default_level("receiver.audit", logging.INFO, self._undo)

    def end(self) -> None:
        """Undo what `begin` changed."""
        self._undo.close()


class _MaskingFormatter(logging.Formatter, ABC):
    """
    A formatter that masks the secrets of keys and adds the id of the request.

    Args:
        replaced: The formatter that the handler had before.
    """

    def __init__(self, replaced: logging.Formatter | None) -> None:
        super().__init__()
        self.replaced = replaced

    def format(self, record: logging.LogRecord) -> str:
        record = copy(record)
        current_id = request_id()
        if current_id is not None:
            record.request_id = current_id
        return _KEY.sub(r"\1***", self.write(record))

    @abstractmethod
    def write(self, record: logging.LogRecord) -> str:
        """Format a log record, which is a copy that the method may change."""


class _Json(_MaskingFormatter):
    def write(self, record: logging.LogRecord) -> str:
        return _JSON.format(record)


class _JsonLine(JsonFormatter):
    """Formats log records as JSON in ASCII, so that no character of a message can end the line."""

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

    def formatTime(  # noqa: N802 - logging's name
        self,
        record: logging.LogRecord,
        datefmt: str | None = None,  # noqa: ARG002 - logging's argument
    ) -> str:
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Text(_MaskingFormatter):
    """Formats log records with the replaced formatter, but keeps each message in one line."""

    def write(self, record: logging.LogRecord) -> str:
        record.msg, record.args = _message(record, self.replaced)
        if type(self.replaced) not in _LINE_FORMATTERS:  # custom: it may write several lines
            assert self.replaced is not None  # the type of None is in _LINE_FORMATTERS
            return self.replaced.format(record)
        tracebacks = [
            *([self.formatException(record.exc_info)] if record.exc_info else []),
            *([self.formatStack(record.stack_info)] if record.stack_info else []),
        ]
        record.exc_info = record.exc_text = record.stack_info = None
        line = (self.replaced or logging.Formatter()).format(record)
        if hasattr(record, "request_id"):
            line += f" [{record.request_id}]"
        return "\n".join([line, *(_indented(each) for each in tracebacks)])


_JSON = _JsonLine()
_LINE_FORMATTERS = (AccessFormatter, DefaultFormatter, logging.Formatter, type(None))
_KEY = re.compile(r"(fleetkey_[A-Za-z0-9]+_)[A-Za-z0-9_-]+")


def _message(
    record: logging.LogRecord, formatter: logging.Formatter | None
) -> tuple[str, tuple[object, ...]]:
    """The message and arguments of a log record, with control characters escaped."""
    if isinstance(formatter, AccessFormatter) and isinstance(record.args, tuple):
        args = [_in_one_line(each) if isinstance(each, str) else each for each in record.args]
        return record.msg, tuple(args)
    if hasattr(record, "color_message"):  # uvicorn's copy of the message with colours
        record.color_message %= record.args
    return _in_one_line(record.getMessage().rstrip()), ()


def _in_one_line(text: str) -> str:
    """The text with escapes for characters that are not printable, such as a newline."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def _indented(text: str) -> str:
    return "\n".join(f"    {_in_one_line(line)}" for line in text.split("\n"))


def _handlers() -> set[logging.Handler]:
    """The handlers of all loggers."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    return {
        handler
        for logger in loggers
        if isinstance(logger, logging.Logger)
        for handler in logger.handlers
    }


def _original(formatter: logging.Formatter | None) -> logging.Formatter | None:
    """The formatter of a handler, or the one that another receiver of this process replaced."""
    return formatter.replaced if isinstance(formatter, _MaskingFormatter) else formatter


def _restore_formatter(handler: logging.Handler, formatter: _MaskingFormatter) -> None:
    if handler.formatter is formatter:
        handler.setFormatter(formatter.replaced)


def _add_root_handler(undo: ExitStack) -> None:
    """Add a handler in uvicorn's format to the root logger, if it has none."""
    if logging.root.handlers:
        return
    uvicorn = logging.getLogger("uvicorn").handlers
    handler = logging.StreamHandler()
    colours = [getattr(each.formatter, "use_colors", None) for each in uvicorn]
    handler.setFormatter(
        DefaultFormatter("%(levelprefix)s %(name)s: %(message)s", use_colors=any(colours))
    )
    if uvicorn:  # uvicorn's own handlers write uvicorn's records
        handler.addFilter(lambda record: not record.name.startswith("uvicorn"))
    logging.root.addHandler(handler)
    undo.callback(logging.root.removeHandler, handler)


def _capture_warnings(undo: ExitStack) -> None:
    showwarning = warnings.showwarning
    logging.captureWarnings(capture=True)
    if warnings.showwarning is not showwarning:  # warnings were not captured before
        undo.callback(logging.captureWarnings, capture=False)


def _set_default_level(name: str, level: int, undo: ExitStack) -> None:
    """Set the level of a logger, unless the logger has one."""
    logger = logging.getLogger(name)
    if logger.level == logging.NOTSET:
        logger.setLevel(level)
        undo.callback(logger.setLevel, logging.NOTSET)
