from markupsafe import Markup

from odoo import api, fields, models
from odoo.exceptions import AccessError, ValidationError

from client import ClientError, host_facts, trust_only

from ..services.conflicts import conflicts_are_no_errors
from ..services.endpoint import checked_endpoint_url, endpoint_by_default, parameter
from ..services.interval import (
    MOST_SECONDS,
    heartbeat_action,
    interval_in_days_at_most,
    interval_seconds,
    set_interval,
)
from ..services.listening import listening_port
from ..services.maintenance import MOST_MINUTES, begin_maintenance
from ..services.mcp import DISABLED
from ..services.phone_home import beat, register
from ..services.routes import MCP_PATH, OWN_PATH, mcp_path, rivals
from ..services.settings import (
    LEAST_LONGEST_INTERVAL_SECONDS,
    MOST_ATTEMPTS,
    MOST_LONGEST_INTERVAL_SECONDS,
    MOST_TIMEOUT_SECONDS,
    can_be_sent,
    checked_receiver_url,
    longest_interval_seconds,
    outside_the_database,
    receiver_settings,
    server_settings,
    without_password,
)
from ..services.state import forget_claims
from ..tools.foreign import for_user
from ..tools.registry import announced_tools, installed_tools

# Shown in the form in place of a token that is set. No token equals it: tokens are ASCII.
MASK = "\u2022" * 8

_ADMINISTRATORS = "base.group_system"

_TEXTS = {
    "mcp_phone_home_url": "mcp.phone_home_url",
    "mcp_phone_home_ca": "mcp.phone_home_ca",
    "mcp_endpoint_url": "mcp.endpoint_url",
}
_NUMBERS = {
    "mcp_server_port": "mcp.server_port",
    "mcp_phone_home_timeout": "mcp.phone_home_timeout",
    "mcp_phone_home_retries": "mcp.phone_home_retries",
    "mcp_heartbeat_longest_interval": "mcp.heartbeat_longest_interval",
}
_CHECKED = (
    *_TEXTS,
    *_NUMBERS,
    "mcp_phone_home_token",
    "mcp_heartbeat_number",
    "mcp_heartbeat_unit",
)


class ResConfigSettings(models.TransientModel):
    _inherit = "res.config.settings"

    mcp_phone_home_url = fields.Char("Receiver URL", groups=_ADMINISTRATORS)
    mcp_phone_home_token = fields.Char(
        "Token",
        compute="_compute_mcp_phone_home_token",
        inverse="_inverse_mcp_phone_home_token",
        groups=_ADMINISTRATORS,
    )
    mcp_typed_token = fields.Char(default=MASK, copy=False, prefetch=False, groups=fields.NO_ACCESS)
    mcp_phone_home_ca = fields.Char("Certificate File", groups=_ADMINISTRATORS)
    mcp_phone_home_timeout = fields.Float("Timeout", groups=_ADMINISTRATORS)
    mcp_phone_home_retries = fields.Integer("Attempts", groups=_ADMINISTRATORS)
    mcp_server_port = fields.Integer("MCP Port", groups=_ADMINISTRATORS)
    mcp_endpoint_url = fields.Char("Public URL", groups=_ADMINISTRATORS)
    mcp_heartbeat_number = fields.Integer("Heartbeat Interval", groups=_ADMINISTRATORS)
    mcp_heartbeat_unit = fields.Selection(
        [("minutes", "minutes"), ("hours", "hours"), ("days", "days")],
        "Unit of the Heartbeat Interval",
        groups=_ADMINISTRATORS,
    )

    mcp_heartbeat_longest_interval = fields.Integer("Longest Interval", groups=_ADMINISTRATORS)

    mcp_maintenance_minutes = fields.Integer("Minutes", default=30, groups=_ADMINISTRATORS)

    mcp_server_id = fields.Char("Server ID", compute="_compute_mcp", groups=_ADMINISTRATORS)
    mcp_endpoint_default = fields.Char(compute="_compute_mcp", groups=_ADMINISTRATORS)
    mcp_port_note = fields.Char(compute="_compute_mcp", groups=_ADMINISTRATORS)
    mcp_path_note = fields.Char(compute="_compute_mcp", groups=_ADMINISTRATORS)
    mcp_tools_for = fields.Char("Offered To", compute="_compute_mcp_tools", groups=_ADMINISTRATORS)
    mcp_tools = fields.Html(
        "Tools", compute="_compute_mcp_tools", sanitize=False, groups=_ADMINISTRATORS
    )
    mcp_is_token_outside = fields.Boolean(compute="_compute_mcp", groups=_ADMINISTRATORS)
    mcp_token_is_for = fields.Char(compute="_compute_mcp", groups=_ADMINISTRATORS)
    mcp_is_ca_outside = fields.Boolean(compute="_compute_mcp", groups=_ADMINISTRATORS)
    mcp_is_heartbeat_off = fields.Boolean(compute="_compute_mcp", groups=_ADMINISTRATORS)
    mcp_last_success_at = fields.Datetime(
        "Last Success", compute="_compute_mcp", groups=_ADMINISTRATORS
    )
    mcp_last_failure_at = fields.Datetime(
        "Last Failure", compute="_compute_mcp", groups=_ADMINISTRATORS
    )
    mcp_last_failure_reason = fields.Text(
        "Reason of the Last Failure", compute="_compute_mcp", groups=_ADMINISTRATORS
    )

    @api.depends("mcp_typed_token")
    def _compute_mcp_phone_home_token(self):
        """The mask instead of the token: the server never sends a token to a browser."""
        is_set = receiver_settings(self.env).token is not None
        for settings in self:
            typed = settings.sudo().mcp_typed_token
            is_shown = is_set if typed == MASK else bool(typed)
            settings.mcp_phone_home_token = MASK if is_shown else False

    def _inverse_mcp_phone_home_token(self):
        for settings in self:
            settings.sudo().mcp_typed_token = settings.mcp_phone_home_token
        # The cache holds the typed token, which the form would read back.
        self.invalidate_recordset(["mcp_phone_home_token"])

    # A dependency makes Odoo compute the fields in a new record; base_setup does the same.
    @api.depends("company_id")
    def _compute_mcp(self):
        state = self.env["mcp.phone.home.state"].sudo().search([], limit=1)
        values = {
            "mcp_server_id": f"{self.env.cr.dbname}_{host_facts().hostname}",
            "mcp_endpoint_default": endpoint_by_default(self.env),
            "mcp_port_note": self._get_mcp_port_note(),
            "mcp_path_note": self._get_mcp_path_note(),
            "mcp_is_token_outside": bool(outside_the_database("mcp.phone_home_token")),
            "mcp_token_is_for": receiver_settings(self.env).token_is_for,
            "mcp_is_ca_outside": bool(outside_the_database("mcp.phone_home_ca")),
            "mcp_is_heartbeat_off": not heartbeat_action(self.env).active,
            "mcp_last_success_at": state.last_success_at,
            "mcp_last_failure_at": state.last_failure_at,
            "mcp_last_failure_reason": state.last_failure_reason,
        }
        for settings in self:
            settings.update(values)

    @api.depends("company_id")
    def _compute_mcp_tools(self):
        values = {"mcp_tools_for": self._get_mcp_tools_for(), "mcp_tools": self._get_mcp_tools()}
        for settings in self:
            settings.update(values)

    @api.model
    def _get_mcp_port_note(self):
        port = listening_port(
            self.env,
            configured=server_settings(self.env).port,
            addresses=host_facts().ip_addresses.all,
        )
        if port is None:
            return self.env._("The receiver is told no port, since nothing listens on it.")
        return self.env._("The receiver is told port %s, on which something listens.", port)

    @api.model
    def _get_mcp_path_note(self):
        """What an administrator should know of other addons at the same path; else False."""
        others, path = ", ".join(rivals(self.env)), mcp_path(self.env)
        if not others:
            return False
        told = {"path": MCP_PATH, "others": others, "own_path": OWN_PATH}
        if path == MCP_PATH:
            return self.env._(
                "The addon %(others)s has a route %(path)s too, at which this addon answers.",
                **told,
            )
        return self.env._(
            "The addon %(others)s answers at %(path)s, so the tools of this addon are called at "
            "%(own_path)s.",
            **told,
        )

    @api.model
    def _get_mcp_tools_for(self):
        if parameter(self.env, DISABLED):
            return self.env._("Nobody: the system parameter %s turns MCP off.", DISABLED)
        return self.env._(
            "Agents that have the API key of an administrator. They call the tools of this addon "
            "at %s.",
            mcp_path(self.env),
        )

    @api.model
    def _get_mcp_tools(self):
        """The announced tools as rows: name, title, addon, and the path at which it is called."""
        ours = installed_tools(self.env)
        rows = [
            Markup("<tr><td><code>%s</code></td><td>%s</td><td>%s</td><td>%s</td></tr>")
            % (tool.name, _title(self.env, ours.get(tool.name)), tool.module, tool.path or "")
            for tool in announced_tools(for_user(self.env))
        ]
        heads = (
            self.env._("Name"),
            self.env._("Title"),
            self.env._("Addon"),
            self.env._("Path"),
        )
        head = Markup().join(Markup("<th>%s</th>") % each for each in heads)
        return (
            Markup("<table class='table table-sm'><thead><tr>%s</tr></thead><tbody>") % head
            + Markup().join(rows)
            + Markup("</tbody></table>")
        )

    @api.model
    def get_values(self):
        values = super().get_values()
        if self.env.is_system():
            values.update(self._get_mcp_values())
        return values

    @api.model
    def _get_mcp_values(self):
        """The current settings as the form shows them: URLs without passwords, valid numbers."""
        receiver = receiver_settings(self.env)
        number, unit = interval_in_days_at_most(self.env)

        return {
            "mcp_phone_home_url": without_password(receiver.url) or False,
            "mcp_phone_home_ca": receiver.ca or False,
            "mcp_phone_home_timeout": receiver.timeout_seconds,
            "mcp_phone_home_retries": receiver.attempts,
            "mcp_server_port": server_settings(self.env).port,
            "mcp_endpoint_url": parameter(self.env, "mcp.endpoint_url") or False,
            "mcp_heartbeat_longest_interval": longest_interval_seconds(self.env),
            "mcp_heartbeat_number": number,
            "mcp_heartbeat_unit": unit,
        }

    @api.constrains(*_CHECKED)
    def _check_mcp_values(self):
        """Refuse invalid values, but only in fields that differ from the current settings."""
        if not self.env.is_system():
            return
        current = self._get_mcp_values()
        for settings in self:
            settings._check_mcp_texts(current)  # noqa: SLF001 - this very model
            settings._check_mcp_numbers(current)  # noqa: SLF001 - as above
            settings._check_mcp_interval(current)  # noqa: SLF001 - as above
            settings._check_mcp_longest_interval(current)  # noqa: SLF001 - as above

    def _check_mcp_texts(self, current):
        """Raise ValidationError for an invalid text that differs from `current`."""
        url, endpoint_url, ca = (
            self[name] != current[name] and _stripped(self[name])
            for name in ("mcp_phone_home_url", "mcp_endpoint_url", "mcp_phone_home_ca")
        )
        if url and not _passes(checked_receiver_url, url):
            raise ValidationError(
                self.env._(
                    "Receiver URL: expected http:// or https:// and a host, without a "
                    "password, ? and #. For example: https://fleet.example.com"
                )
            )
        if not can_be_sent(self._typed_mcp_token() or ""):
            raise ValidationError(
                self.env._("Token: expected visible ASCII characters, and no spaces.")
            )
        if endpoint_url and not _passes(checked_endpoint_url, endpoint_url):
            raise ValidationError(
                self.env._(
                    "Public URL: expected http:// or https:// and a host, without a password. "
                    "For example: https://odoo.example.com/mcp/v1"
                )
            )
        if ca and not outside_the_database("mcp.phone_home_ca"):
            self._check_mcp_ca(ca)

    def _check_mcp_ca(self, path):
        try:
            trust_only(path)
        except ClientError as error:
            raise ValidationError(
                self.env._(
                    "Certificate File: expected the path of a PEM file with certificates, on "
                    "the machine of this Odoo. %s",
                    error,
                )
            ) from error

    def _check_mcp_numbers(self, current):
        """Raise ValidationError for an invalid number that differs from `current`."""
        port, timeout, attempts = (
            self[name] if self[name] != current[name] else None
            for name in ("mcp_server_port", "mcp_phone_home_timeout", "mcp_phone_home_retries")
        )
        if port is not None and not 1 <= port <= 65535:
            raise ValidationError(
                self.env._("MCP Port: expected a number from 1 to 65535, got %s.", port)
            )
        if timeout is not None and not 0 < timeout <= MOST_TIMEOUT_SECONDS:
            raise ValidationError(
                self.env._(
                    "Timeout: expected a number of seconds above 0, %(most)s at most, got "
                    "%(seconds)s.",
                    most=MOST_TIMEOUT_SECONDS,
                    seconds=_text(timeout),
                )
            )
        if attempts is not None and not 1 <= attempts <= MOST_ATTEMPTS:
            raise ValidationError(
                self.env._(
                    "Attempts: expected a number from 1 to %(most)s, got %(number)s.",
                    most=MOST_ATTEMPTS,
                    number=attempts,
                )
            )

    def _check_mcp_interval(self, current):
        """Raise ValidationError for an invalid interval that differs from `current`."""
        if not self._is_mcp_interval_changed(current):
            return
        unit = self.mcp_heartbeat_unit
        seconds = interval_seconds(self.mcp_heartbeat_number, unit) if unit else 0
        if not interval_seconds(1, "minutes") <= seconds <= MOST_SECONDS:
            raise ValidationError(
                self.env._("Heartbeat Interval: expected a minute or more, 365 days at most.")
            )

    def _check_mcp_longest_interval(self, current):
        """Raise ValidationError for an invalid number that differs from `current`."""
        longest = self.mcp_heartbeat_longest_interval
        if longest == current["mcp_heartbeat_longest_interval"]:
            return
        if not LEAST_LONGEST_INTERVAL_SECONDS <= longest <= MOST_LONGEST_INTERVAL_SECONDS:
            raise ValidationError(
                self.env._(
                    "Longest Interval: expected %(least)s to %(most)s seconds, got %(seconds)s.",
                    least=LEAST_LONGEST_INTERVAL_SECONDS,
                    most=MOST_LONGEST_INTERVAL_SECONDS,
                    seconds=longest,
                )
            )

    def _is_mcp_interval_changed(self, current):
        names = ("mcp_heartbeat_number", "mcp_heartbeat_unit")
        return any(self[name] != current[name] for name in names)

    def _typed_mcp_token(self):
        """The token to store; False to delete it, None to leave it unchanged."""
        typed = self.sudo().mcp_typed_token
        if typed == MASK or outside_the_database("mcp.phone_home_token"):
            return None
        return _stripped(typed)

    def set_values(self):
        result = super().set_values()
        if self.env.is_system():
            with conflicts_are_no_errors():
                self._set_mcp_values()
                self.env.flush_all()
        return result

    def _set_mcp_values(self):
        self._check_mcp_values()
        current = self._get_mcp_values()
        self._set_mcp_texts(current)
        self._set_mcp_numbers(current)
        if self._is_mcp_interval_changed(current):
            set_interval(self.env, self.mcp_heartbeat_number, self.mcp_heartbeat_unit)

    def _set_mcp_texts(self, current):
        changed = {name for name in _TEXTS if self[name] != current[name]}
        if outside_the_database("mcp.phone_home_ca"):
            changed.discard("mcp_phone_home_ca")
        for name in changed:
            self._set_mcp_parameter(_TEXTS[name], _stripped(self[name]))
        if "mcp_phone_home_url" in changed:
            self._set_mcp_receiver(_stripped(self.mcp_phone_home_url))
        token = self._typed_mcp_token()
        if token is not None:
            self._lock_mcp_token()
            self._set_mcp_parameter("mcp.phone_home_token", token)
        self.sudo().mcp_typed_token = MASK

    def _lock_mcp_token(self):
        """
        Lock the token's row, so that a conflict fails here and not in the statement that writes.

        Odoo logs the SQL of a failed statement before it repeats the request, and the later
        statement holds the token.
        """
        self.env.cr.execute(
            "SELECT FROM ir_config_parameter WHERE key = 'mcp.phone_home_token' FOR UPDATE",
            log_exceptions=False,
        )

    def _set_mcp_receiver(self, url):
        """Store the receiver's URL, and let the next scheduled action register there at once."""
        self._set_mcp_parameter("mcp.phone_home_url", url and checked_receiver_url(url))
        self._set_mcp_parameter("mcp.last_hostname", None)
        forget_claims(self.env)

    def _set_mcp_numbers(self, current):
        for name, key in _NUMBERS.items():
            if self[name] != current[name]:
                self._set_mcp_parameter(key, _text(self[name]))

    def _set_mcp_parameter(self, key, value):
        self.env["ir.config_parameter"].sudo().set_param(key, value)

    def action_mcp_register(self):
        """Save the settings, then let the browser request the registration."""
        return self._save_and_run("mcp_phone_home.action_register_now")

    def action_mcp_send_heartbeat(self):
        """Save the settings, then let the browser request the heartbeat."""
        return self._save_and_run("mcp_phone_home.action_send_heartbeat_now")

    def action_mcp_begin_maintenance(self):
        """Save the settings, then let the browser request the maintenance."""
        self._mcp_refuse_others()
        minutes = self._checked_mcp_minutes(self.mcp_maintenance_minutes)
        action = "mcp_phone_home.action_begin_maintenance"
        return self._save_and_run(action, mcp_maintenance_minutes=minutes)

    def _save_and_run(self, action, **context):
        """
        Save the settings and return a client action for the browser to run next, in a context.

        The action runs in a second request, so that the transaction which writes the settings
        is committed before Odoo waits for the receiver.
        """
        self._mcp_refuse_others()
        saved = self.execute()
        if saved.get("tag") != "reload":
            # Odoo opens a dialogue first, about modules to uninstall.
            return saved
        # Odoo's own addons read actions by this method, too.
        found = self.env["ir.actions.actions"]._for_xml_id(action)  # noqa: SLF001 - as said
        return {**found, "context": context}

    @api.model
    def _mcp_register_now(self):
        """Register the server, and return a notification with the outcome."""
        self._mcp_refuse_others()
        taken_in = self.env._("The receiver knows this server now.")
        return self._mcp_notification(register(self.env, attempts=1), taken_in)

    @api.model
    def _mcp_send_heartbeat_now(self):
        """Send a heartbeat, and return a notification with the outcome."""
        self._mcp_refuse_others()
        taken_in = self.env._("The receiver has taken the heartbeat in.")
        return self._mcp_notification(beat(self.env), taken_in)

    @api.model
    def _mcp_begin_maintenance_now(self):
        """Ask for a maintenance of the minutes in the context; return what came of it."""
        self._mcp_refuse_others()
        minutes = self._checked_mcp_minutes(self.env.context.get("mcp_maintenance_minutes"))
        taken_in = self.env._(
            "For the next %s minutes, the receiver tells nobody about this server.", minutes
        )
        return self._mcp_notification(begin_maintenance(self.env, minutes), taken_in)

    @api.model
    def _checked_mcp_minutes(self, minutes):
        """The minutes of a maintenance. Raises ValidationError for a number that cannot be."""
        if not isinstance(minutes, int) or not 1 <= minutes <= MOST_MINUTES:
            raise ValidationError(
                self.env._(
                    "Maintenance: expected a number of minutes from 1 to %(most)s, got %(number)s.",
                    most=MOST_MINUTES,
                    number=minutes,
                )
            )
        return minutes

    @api.model
    def _mcp_notification(self, outcome, taken_in):
        is_off = not receiver_settings(self.env).url
        reason = self.env._("Phoning home is off. Enter the URL of a receiver first.")
        return {
            "type": "ir.actions.client",
            "tag": "display_notification",
            "params": {
                "title": self.env._("MCP Fleet"),
                "type": "success" if outcome.taken_in else "danger",
                "message": taken_in if outcome.taken_in else (is_off and reason) or outcome.reason,
                "sticky": not outcome.taken_in,
                "next": {"type": "ir.actions.client", "tag": "soft_reload"},
            },
        }

    @api.model
    def _mcp_refuse_others(self):
        if not self.env.is_system():
            raise AccessError(self.env._("Only administrators may do this."))


def _title(env, tool) -> str:
    title = tool.title if tool else None
    if not title:
        return ""
    return title if isinstance(title, str) else env._(title)


def _stripped(text):
    """The text, stripped; False for an empty one."""
    return (text or "").strip() or False


def _text(number) -> str:
    """The number as text without a trailing `.0`: 5 for 5.0."""
    return repr(number).removesuffix(".0")


def _passes(check, text) -> bool:
    try:
        check(text)
    except ValueError:
        return False
    return True
