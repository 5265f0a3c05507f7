"""The heartbeat interval: that of the scheduled action (`ir.cron`)."""

import os
from datetime import timedelta

from odoo import fields

_UNIT_SECONDS = {
    "minutes": 60,
    "hours": 3600,
    "days": 86400,
    "weeks": 7 * 86400,
    "months": 30 * 86400,
}

# Odoo.sh runs a scheduled action at most once in this time, whatever its interval is.
ODOO_SH_SECONDS = 300

MOST_SECONDS = 365 * 86400


def heartbeat_interval_seconds(env, *, stage):
    """
    The seconds between two heartbeats, as this server declares them to the receiver.

    That is the interval of the scheduled action; None when the action is archived or deleted.
    `stage` is the value of `ODOO_STAGE`; where it is not empty the server runs on Odoo.sh, and
    the interval is 300 seconds at least.
    """
    cron = heartbeat_action(env)
    if not cron.active:
        return None
    seconds = float(interval_seconds(cron.interval_number, cron.interval_type))

    return max(seconds, ODOO_SH_SECONDS) if stage else seconds


def usual_interval_seconds(env):
    """`heartbeat_interval_seconds` in the stage of this server."""
    return heartbeat_interval_seconds(env, stage=os.environ.get("ODOO_STAGE", ""))


def interval_seconds(number, unit) -> int:
    return number * _UNIT_SECONDS[unit]


def heartbeat_action(env):
    """The scheduled action that sends heartbeats; an empty recordset when it was deleted."""
    cron = env.ref("mcp_phone_home.ir_cron_heartbeat", raise_if_not_found=False)
    return (cron or env["ir.cron"]).sudo()


def interval_in_days_at_most(env):
    """
    The interval of the scheduled action as `(number, unit)`, with weeks and months in days.

    `(1, "minutes")` when the action was deleted.
    """
    cron = heartbeat_action(env)
    if not cron:
        return 1, "minutes"
    if cron.interval_type in ("weeks", "months"):
        seconds = interval_seconds(cron.interval_number, cron.interval_type)
        return seconds // _UNIT_SECONDS["days"], "days"
    return cron.interval_number, cron.interval_type


def set_interval(env, number, unit):
    """Set the interval of the scheduled action; does nothing when the action was deleted."""
    cron = heartbeat_action(env)
    if not cron:
        return
    # Bring the next run forward: it must not stay a month away after a change to one minute.
    soonest = fields.Datetime.now() + timedelta(seconds=interval_seconds(number, unit))
    cron.write(
        {
            "interval_number": number,
            "interval_type": unit,
            "nextcall": min(cron.nextcall, soonest),
        }
    )
