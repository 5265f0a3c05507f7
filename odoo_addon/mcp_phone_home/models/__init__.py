from . import ir_config_parameter, mcp_heartbeat, mcp_phone_home_state, res_config_settings
