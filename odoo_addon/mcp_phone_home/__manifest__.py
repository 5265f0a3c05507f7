{
    "name": "MCP Phone Home",
    "summary": "Tells a fleet receiver that this database's MCP server is alive",
    "version": "19.0.1.2.0",
    "development_status": "Beta",
    "category": "Technical",
    "author": "Odoo MCP Fleet maintainers",
    "license": "LGPL-3",
    "depends": ["base_setup"],
    "external_dependencies": {"python": ["jsonschema", "odoo-mcp-fleet[client]"]},
    "data": [
        "security/ir.model.access.csv",
        "data/mcp_phone_home_state.xml",
        "data/ir_cron.xml",
        "views/res_config_settings_views.xml",
    ],
    "post_init_hook": "post_init_hook",
    "uninstall_hook": "uninstall_hook",
}
