{
    "name": "Fleet Rival",
    "summary": "For tests: has the routes, the model, the action and the parameters of another",
    "version": "19.0.1.0.0",
    "author": "Odoo MCP Fleet maintainers",
    "license": "LGPL-3",
    "depends": ["base"],
    "data": ["security/ir.model.access.csv", "data/data.xml"],
}
