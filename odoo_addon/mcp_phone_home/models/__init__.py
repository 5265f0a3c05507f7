from . import mcp_heartbeat
