from . import health, mcp
