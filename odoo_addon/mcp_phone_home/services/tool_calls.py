"""Running a tool for an agent: validates its arguments, and rolls back a call that fails."""

import json
import logging
import time

from jsonschema import Draft202012Validator

from odoo.exceptions import ConcurrencyError, UserError
from odoo.service.model import PG_CONCURRENCY_EXCEPTIONS_TO_RETRY

from .messages import shown

_logger = logging.getLogger(__name__)

# Conflicts with another transaction, after which Odoo's HTTP server repeats the whole request.
RETRIED = (ConcurrencyError, *PG_CONCURRENCY_EXCEPTIONS_TO_RETRY)

_MOST_COMPLAINTS = 5


def call_tool(env, tool, arguments: dict) -> dict:
    """
    Run a tool and return the result object of MCP's `tools/call`.

    The result of a failed call has `isError`, and the tool's writes are rolled back. Invalid
    arguments give such a result too, and no JSON-RPC error, because a model sees the result and
    can correct them (SEP-1303). Raises the exceptions of `RETRIED`.
    """
    begun = time.monotonic()
    login, uid, outcome = env.user.login, env.uid, "to be tried again"
    try:
        outcome, result = _outcome(env, tool, arguments)
        return result
    finally:
        _logger.info(
            "MCP tool %s of %s (user %d): %s, %.3f s",
            *(shown(tool.name), shown(login), uid, outcome, time.monotonic() - begun),
        )


def _outcome(env, tool, arguments) -> tuple[str, dict]:
    try:
        if complaints := _complaints(tool, arguments):
            return "wrong arguments", _failure(f"The arguments are wrong: {complaints}")
        with env.cr.savepoint():
            return "done", _success(tool.run(env, **arguments))
    except RETRIED:
        raise
    except (ValueError, UserError) as error:
        env.registry.reset_changes()
        return "refused", _failure(str(error) or "The tool refuses, and does not say why.")
    except Exception:  # the tool of another addon may raise anything
        env.registry.reset_changes()
        _logger.exception("The MCP tool %s failed", shown(tool.name))
        return "failed", _failure("The tool failed; the reason is in Odoo's log.")


def _complaints(tool, arguments) -> str:
    """The first problems of the arguments, in one line; empty for valid ones."""
    if "env" in arguments:
        return "env is none of them."
    try:
        found = sorted(
            f"{error.json_path}: {error.message:.300}"
            for error in Draft202012Validator(tool.input_schema).iter_errors(arguments)
        )
    except RecursionError:
        return "they nest too deeply."
    more = f"; and {len(found) - _MOST_COMPLAINTS} more" if len(found) > _MOST_COMPLAINTS else ""

    return "; ".join(found[:_MOST_COMPLAINTS]) + more


class _NotJson(Exception):
    """A tool has returned a value that JSON cannot hold."""


def _success(value) -> dict:
    text = _as_json(value)
    result = {"content": [{"type": "text", "text": text}]}
    # MCP allows only an object as `structuredContent`.
    return {**result, "structuredContent": json.loads(text)} if text.startswith("{") else result


def _as_json(value) -> str:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        # Raises for a lone surrogate.
        text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise _NotJson("the result is nothing that JSON can hold") from error
    return text


def _failure(sentence) -> dict:
    text = sentence.encode("utf-8", "replace").decode("utf-8")
    return {"content": [{"type": "text", "text": text}], "isError": True}
