from odoo import SUPERUSER_ID, api

_CODE = "model._cron_send_heartbeat()"


def migrate(cr, _version):
    """
    Let the scheduled action call the model that only this addon has.

    Another addon may define `mcp.heartbeat` too; both actions would call its method then.
    """
    env = api.Environment(cr, SUPERUSER_ID, {})
    action = env.ref("mcp_phone_home.ir_cron_heartbeat", raise_if_not_found=False)
    if action and action.model_id.model == "mcp.heartbeat" and action.code == _CODE:
        action.model_id = env.ref("mcp_phone_home.model_mcp_phone_home_state")
