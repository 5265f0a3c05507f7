{
    "name": "Fleet OCA",
    "summary": "For tests: an MCP server for the tools of OCA's ai_tool",
    "version": "19.0.1.0.0",
    "author": "Odoo MCP Fleet maintainers",
    "license": "LGPL-3",
    "depends": ["ai_tool"],
    "data": ["security/ir.model.access.csv", "data/data.xml"],
}
