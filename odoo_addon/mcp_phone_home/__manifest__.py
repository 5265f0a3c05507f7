{
    "name": "MCP Phone Home",
    "summary": "Offers MCP tools to AI agents, and tells a fleet receiver by a heartbeat that "
    "this database's MCP server is alive",
    "version": "19.0.1.4.0",
    "development_status": "Beta",
    "category": "MCP",
    "application": True,
    "author": "Odoo MCP Fleet maintainers",
    "license": "LGPL-3",
    "depends": ["base_setup"],
    "external_dependencies": {
        "python": [
            "attrs",
            "httpx",
            "jsonschema",
            "odoo-mcp-fleet[client]>=0.2.0.dev0",
            "psutil",
            "tenacity",
        ]
    },
    "data": [
        "security/ir.model.access.csv",
        "data/mcp_phone_home_state.xml",
        "data/ir_cron.xml",
        "views/res_config_settings_views.xml",
    ],
    "post_init_hook": "post_init_hook",
    "uninstall_hook": "uninstall_hook",
}
