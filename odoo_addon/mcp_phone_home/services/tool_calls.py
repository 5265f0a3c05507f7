"""Running a tool for an agent: validates its arguments, and rolls back a call that fails."""

import logging
import time

from jsonschema import Draft202012Validator

from odoo.exceptions import UserError

from .conflicts import RETRIED, conflicts_are_no_errors
from .messages import shown
from .results import failure, success

_logger = logging.getLogger(__name__)

_MOST_COMPLAINTS = 5


class _Failed(Exception):
    """
    A tool has returned a result object with `isError`, so what it has written is rolled back.

    Attributes:
        result: The result object.
    """

    def __init__(self, result):
        super().__init__("the tool has returned an error")
        self.result = result


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
            return "wrong arguments", failure(f"The arguments are wrong: {complaints}")
        with conflicts_are_no_errors(), env.cr.savepoint():
            return "done", _result(env, tool, arguments)
    except RETRIED:
        raise
    except _Failed as failed:
        env.registry.reset_changes()
        return "refused", failed.result
    except (ValueError, UserError) as error:
        env.registry.reset_changes()
        return "refused", failure(str(error) or "The tool refuses, and does not say why.")
    except Exception:  # the tool of another addon may raise anything
        env.registry.reset_changes()
        _logger.exception("The MCP tool %s failed", shown(tool.name))
        return "failed", failure("The tool failed; the reason is in Odoo's log.")


def _result(env, tool, arguments) -> dict:
    """The result object of a call. Raises what the tool raises, UnusableResult and _Failed."""
    result = success(tool.run(env, **arguments), output_schema=tool.output_schema)
    if result.get("isError"):
        raise _Failed(result)
    return result


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
