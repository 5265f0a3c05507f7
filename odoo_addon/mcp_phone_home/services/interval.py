"""How often this database promises to be heard."""

from datetime import timedelta

from odoo import fields

_UNIT_SECONDS = {
    "minutes": 60,
    "hours": 3600,
    "days": 86400,
    "weeks": 7 * 86400,
    "months": 30 * 86400,
}

# Odoo.sh runs a scheduled action no more often, whatever its interval says.
ODOO_SH_SECONDS = 300

MOST_SECONDS = 365 * 86400


def heartbeat_interval_seconds(env, *, stage):
    """
    The interval of the scheduled action that sends heartbeats.

    None where there is no promise: the action is archived or gone.
    `stage` is not empty on Odoo.sh, where the interval is 5 minutes or more.
    """
    cron = heartbeat_action(env)
    if not cron.active:
        return None
    seconds = float(interval_seconds(cron.interval_number, cron.interval_type))

    return max(seconds, ODOO_SH_SECONDS) if stage else seconds


def interval_seconds(number, unit) -> int:
    return number * _UNIT_SECONDS[unit]


def heartbeat_action(env):
    """The scheduled action that sends heartbeats; an empty record where it is gone."""
    cron = env.ref("mcp_phone_home.ir_cron_heartbeat", raise_if_not_found=False)
    return (cron or env["ir.cron"]).sudo()


def interval_in_days_at_most(env):
    """
    The interval of the scheduled action, `(number, unit)` with no unit above days.

    A minute where the action is gone.
    """
    cron = heartbeat_action(env)
    if not cron:
        return 1, "minutes"
    if cron.interval_type in ("weeks", "months"):
        seconds = interval_seconds(cron.interval_number, cron.interval_type)
        return seconds // _UNIT_SECONDS["days"], "days"
    return cron.interval_number, cron.interval_type


def set_interval(env, number, unit):
    """Let the scheduled action run that often from now on. Nothing where it is gone."""
    cron = heartbeat_action(env)
    if not cron:
        return
    # What was due in a month is due in a minute, when it shall run every minute.
    soonest = fields.Datetime.now() + timedelta(seconds=interval_seconds(number, unit))
    cron.write(
        {
            "interval_number": number,
            "interval_type": unit,
            "nextcall": min(cron.nextcall, soonest),
        }
    )
