{
    "name": "MCP Conformance",
    "summary": "The tools that the conformance suite of MCP calls, for tests",
    "version": "19.0.1.0.0",
    "author": "Odoo MCP Fleet maintainers",
    "license": "LGPL-3",
    "depends": ["mcp_phone_home"],
}
