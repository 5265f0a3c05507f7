"""Running a tool for an agent: its arguments checked, its writes kept or undone as a whole."""

import json
import logging
import time

from jsonschema import Draft202012Validator

from odoo.exceptions import ConcurrencyError, UserError
from odoo.service.model import PG_CONCURRENCY_EXCEPTIONS_TO_RETRY

from .messages import shown

_logger = logging.getLogger(__name__)

# Somebody else has written the same; Odoo's HTTP server does the whole request again.
RETRIED = (ConcurrencyError, *PG_CONCURRENCY_EXCEPTIONS_TO_RETRY)

_MOST_COMPLAINTS = 5


def call_tool(env, tool, arguments: dict) -> dict:
    """
    The result that MCP wants of a call, with `isError` when it came to nothing.

    So are arguments that break the schema told, for that is what a model gets to see and
    can correct (SEP-1303). What a failed call has written is undone.
    Raises one of `RETRIED`.
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
    except Exception:  # a tool is another addon's, and may raise whatever it likes
        env.registry.reset_changes()
        _logger.exception("The MCP tool %s failed", shown(tool.name))
        return "failed", _failure("The tool failed; the reason is in Odoo's log.")


def _complaints(tool, arguments) -> str:
    """What is wrong with the arguments, in one line; empty when nothing is."""
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
    """A tool has given back what JSON cannot hold."""


def _success(result) -> dict:
    text = _as_json(result)
    told = {"content": [{"type": "text", "text": text}]}
    # MCP wants an object there, and nothing else.
    return {**told, "structuredContent": json.loads(text)} if text.startswith("{") else told


def _as_json(result) -> str:
    try:
        text = json.dumps(result, allow_nan=False, ensure_ascii=False)
        # Half a surrogate pair has no place in UTF-8.
        text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise _NotJson("the result is nothing that JSON can hold") from error
    return text


def _failure(sentence) -> dict:
    text = sentence.encode("utf-8", "replace").decode("utf-8")
    return {"content": [{"type": "text", "text": text}], "isError": True}
