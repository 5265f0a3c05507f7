# mypy: ignore-errors

from odoo.addons.mcp_phone_home.tools.registry import mcp_tool

ARGUMENTS = {"warehouse": {"type": "string"}}


@mcp_tool(
    "count_pallets",
    title="Count the pallets",
    description="How many pallets of jellybeans a warehouse has.",
    input_schema={"type": "object", "properties": ARGUMENTS},
    annotations={"readOnlyHint": True},
)
def count_pallets(env, warehouse=None):
    return {"count": 0}
