"""
Requests for which there is no MCP server: without a database, or for one without the addon.

Where `--load` names the addon, Odoo offers its routes to those requests too.
"""

from odoo.http import request

from ..tools.foreign import is_installed

_ADDON = "mcp_phone_home"


def why_absent() -> str | None:
    """A sentence that says why there is no MCP server; None where there is one."""
    if not request.db:
        return (
            "No database is selected, so there is no MCP server here: use the hostname of a "
            "database, or name it in the header X-Odoo-Database."
        )
    if not is_installed(request.env, _ADDON):
        return "The addon mcp_phone_home is not installed in this database."
    return None
