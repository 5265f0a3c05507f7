# mypy: ignore-errors


def get_tool_registry():
    return {"rival_tool": None}
