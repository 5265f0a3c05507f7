"""
HTTP requests that have no MCP server: no database is selected, or it lacks the addon.

Where Odoo's option `--load` names the addon, Odoo calls the addon's routes for those too.
"""

from odoo.http import request

from ..tools.addons import is_installed

_ADDON = "mcp_phone_home"


def why_absent() -> str | None:
    """A sentence that says why the request has no MCP server; None where it has one."""
    if not request.db:
        return (
            "No database is selected, so there is no MCP server here: use the hostname of a "
            "database, or name it in the header X-Odoo-Database."
        )
    if not is_installed(request.env, _ADDON):
        return "The addon mcp_phone_home is not installed in this database."
    return None
