from . import mcp_heartbeat, mcp_phone_home_state, res_config_settings
