"""How often this database promises to be heard."""

_UNIT_SECONDS = {
    "minutes": 60,
    "hours": 3600,
    "days": 86400,
    "weeks": 7 * 86400,
    "months": 30 * 86400,
}

# Odoo.sh runs a scheduled action no more often, whatever its interval says.
ODOO_SH_SECONDS = 300


def heartbeat_interval_seconds(env, *, stage):
    """
    The interval of the scheduled action that sends heartbeats.

    None where there is no promise: the action is archived or gone.
    `stage` is not empty on Odoo.sh, where the interval is 5 minutes or more.
    """
    cron = env.ref("mcp_phone_home.ir_cron_heartbeat", raise_if_not_found=False)
    cron = cron and cron.sudo()
    if not cron or not cron.active:
        return None
    seconds = float(cron.interval_number * _UNIT_SECONDS[cron.interval_type])

    return max(seconds, ODOO_SH_SECONDS) if stage else seconds
