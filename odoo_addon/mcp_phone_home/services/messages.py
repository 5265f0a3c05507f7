"""
Reading and writing JSON-RPC 2.0 messages, in the subset that MCP uses.

`read` raises Fault for every body that is not exactly one valid message.
"""

import json
import math
from typing import Any

from attrs import frozen

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
HEADER_MISMATCH = -32020
UNSUPPORTED_VERSION = -32022
FORBIDDEN = -32003
NOT_FOUND = -32004


class Fault(Exception):
    """
    An error that is sent to the client as the answer to its message.

    Attributes:
        code: Error code of JSON-RPC or MCP.
        data: Machine-readable details for the client, or None.
        request_id: `id` of the request; None when it could not be read.
    """

    def __init__(self, code: int, sentence: str, *, data=None, request_id=None):
        super().__init__(sentence)
        self.code = code
        self.data = data
        self.request_id = request_id


@frozen(kw_only=True)
class Request:
    """
    A JSON-RPC request: a message that needs an answer.

    Attributes:
        id: A text or a whole number, which the answer repeats.
        method: Name of the method, such as `tools/call`.
        params: Parameters by name; may be empty.
    """

    id: str | int
    method: str
    params: dict[str, Any]


def read(body: bytes) -> Request | None:
    """The request in a body; None for a notification or a response. Raises Fault."""
    message = _one_message(_json(body))
    if "method" not in message:
        if "result" in message or "error" in message:
            return None
        raise Fault(INVALID_REQUEST, "The message names no method.")
    if not isinstance(message["method"], str):
        raise Fault(INVALID_REQUEST, "The method must be a text.")
    if "id" not in message:
        return None
    return _request(message)


def result_of(request: Request, result: dict) -> dict:
    return {"jsonrpc": "2.0", "id": request.id, "result": result}


def error_of(fault: Fault) -> dict:
    error = {"code": fault.code, "message": str(fault)}
    if fault.data is not None:
        error["data"] = fault.data
    return {"jsonrpc": "2.0", "id": fault.request_id, "error": error}


def shown(text: Any) -> str:
    """A client's text for a message or a log: quoted, in ASCII, at most 100 characters."""
    return ascii(text) if len(ascii(text)) <= 100 else f"{ascii(text)[:99]}…"


def _json(body: bytes):
    try:
        return json.loads(
            body.decode("utf-8"),
            parse_constant=_no_number,
            parse_float=_finite,
            object_pairs_hook=_unambiguous,
        )
    except RecursionError:
        raise Fault(PARSE_ERROR, "The body nests too deeply.") from None
    except ValueError as error:
        raise Fault(PARSE_ERROR, f"The body is not JSON in UTF-8: {_one_line(error)}") from error


def _no_number(text):
    raise ValueError(f"{text} is no number")


def _finite(text) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError("a number is too large")
    return number


def _unambiguous(pairs) -> dict:
    """
    The pairs as a dict. Raises ValueError for duplicate keys.

    JSON parsers differ in which of the duplicates they take, so a proxy could check another
    message than the one that is processed here.
    """
    message = dict(pairs)
    if len(message) != len(pairs):
        raise ValueError("an object has two members of one name")
    return message


def _one_message(message) -> dict:
    if isinstance(message, list):
        raise Fault(INVALID_REQUEST, "A batch is not taken: send one message at a time.")
    if not isinstance(message, dict):
        raise Fault(INVALID_REQUEST, "A message is a JSON object.")
    if message.get("jsonrpc") != "2.0":
        raise Fault(INVALID_REQUEST, 'The message must say "jsonrpc": "2.0".')
    return message


def _request(message) -> Request:
    request_id = message["id"]
    if isinstance(request_id, bool) or not isinstance(request_id, str | int):
        raise Fault(INVALID_REQUEST, "The id must be a text or a whole number.")
    params = message.get("params")
    # JSON-RPC has no null here, but some clients write one where they have no parameters.
    params = {} if params is None else params
    if not isinstance(params, dict):
        raise Fault(INVALID_PARAMS, "The params must be an object.", request_id=request_id)
    return Request(id=request_id, method=message["method"], params=params)


def _one_line(error) -> str:
    # The text of a decoding error may quote the body.
    return ascii(str(error))[1:-1][:200]
