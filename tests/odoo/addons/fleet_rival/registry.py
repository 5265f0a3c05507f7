def get_tool_registry():
    return {"rival_tool": None}
