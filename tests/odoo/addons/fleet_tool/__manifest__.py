{
    "name": "Fleet Tool",
    "summary": "For tests: adds a tool to the registry of MCP tools",
    "version": "19.0.1.0.0",
    "author": "Odoo MCP Fleet maintainers",
    "license": "LGPL-3",
    "depends": ["mcp_phone_home"],
}
