import json
import re

from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from odoo import http
from odoo.http import request

from ..services.endpoint import parameter
from ..services.mcp import BODY_LIMIT_BYTES, DISABLED, answer
from ..services.messages import FORBIDDEN, NOT_FOUND, Fault, error_of
from ..services.origins import is_known
from ..services.routes import PATHS
from .absence import why_absent

# The pattern of Odoo's `auth="bearer"`, which falls back to the session cookie without a match.
_KEY = re.compile(r"^bearer\s+(.+)$", re.IGNORECASE)

_DISABLED = (
    "MCP is turned off in this database, as in every neutralised copy of one. An administrator "
    f"turns it on by deleting the system parameter {DISABLED}."
)
_ANOTHER_SITE = (
    "Another site may not do this. An administrator names further origins of this Odoo in the "
    "system parameter mcp.allowed_origins."
)


class McpController(http.Controller):
    @http.route(
        list(PATHS),
        type="http",
        auth="bearer",
        methods=["POST"],
        csrf=False,
        readonly=False,
        save_session=False,
        max_content_length=BODY_LIMIT_BYTES,
    )
    def mcp(self, **_params):
        """Answer one message of an MCP client that has the API key of an administrator."""
        if reason := why_absent():
            return _response(404, error_of(Fault(NOT_FOUND, reason)))
        if request.httprequest.method != "POST":
            return self._only_post()
        _refuse_session()
        if reason := _why_forbidden():
            return _response(403, error_of(Fault(FORBIDDEN, reason)))
        if request.httprequest.mimetype != "application/json":
            return _response(415, None)
        # A chunked body is cut off at the size limit, and so is refused as invalid JSON.
        http_request = request.httprequest
        return _response(*answer(request.env, http_request.get_data(), http_request.headers))

    @http.route(
        list(PATHS),
        type="http",
        auth="none",
        methods=["GET", "PUT", "PATCH", "DELETE"],
        csrf=False,
        readonly=True,
        save_session=False,
    )
    def mcp_by_another_method(self, **_params):
        """Refuse the methods with which MCP opens streams and ends sessions."""
        return self._only_post()

    @http.route(
        ["/mcp/<any(v1):_version>", "/mcp_phone_home/<any(mcp):_version>"],
        type="http",
        auth="none",
        methods=["POST"],
        csrf=False,
        readonly=True,
        save_session=False,
    )
    def mcp_without_a_database(self, **_params):
        """
        Answer that no database is selected.

        Without a database, Odoo offers only routes with `auth="none"`. With one it prefers the
        routes of `mcp` to these routes, which have a variable part.
        """
        return self._only_post()

    def _only_post(self):
        if reason := why_absent():
            return _response(404, error_of(Fault(NOT_FOUND, reason)))
        return _response(405, None, Allow="POST")


def _refuse_session():
    """
    Raise Unauthorized for a request without an API key.

    `auth="bearer"` also accepts a session cookie, so a page of another site could make a
    logged-in browser call tools.
    """
    if _KEY.match(request.httprequest.headers.get("Authorization", "")) is None:
        raise Unauthorized(
            "An API key is needed, in an Authorization header.",
            www_authenticate=WWWAuthenticate("bearer"),
        )


def _why_forbidden() -> str | None:
    """Why a request with a valid API key is forbidden, as a sentence; None if it is allowed."""
    if parameter(request.env, DISABLED):
        return _DISABLED
    if not request.env.is_system():
        return "Only administrators may do this."
    return _ANOTHER_SITE if _is_of_another_site() else None


def _is_of_another_site() -> bool:
    """
    Whether the request was made by a web page of another site; MCP requires this check.

    A browser, which a site may attack by DNS rebinding, sends the header Origin with each POST.
    Agents that are no browsers send none, and may use any host name, as behind a proxy.
    """
    http_request = request.httprequest
    origin = http_request.headers.get("Origin")
    return origin is not None and not is_known(
        request.env,
        origin,
        host_url=http_request.host_url,
        remote_address=http_request.remote_addr,
    )


def _response(status, message, **headers):
    headers = {"Cache-Control": "no-store", **headers}
    if message is None:
        return request.make_response("", headers=list(headers.items()), status=status)
    headers["Content-Type"] = "application/json"
    return request.make_response(json.dumps(message), headers=list(headers.items()), status=status)
