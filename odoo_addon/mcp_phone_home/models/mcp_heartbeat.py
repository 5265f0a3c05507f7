from odoo import api, models
from odoo.modules.registry import Registry

from ..services.lifecycle import on_schedule_safely

_ADDON = "mcp_phone_home"
_MODEL = "mcp.heartbeat"


class _OfAnotherAddon:
    """
    The models that `mcp.heartbeat` extends: that of another addon which was loaded before.

    Odoo iterates over it when it adds this class to the registry of a database. Without it the
    class would replace the model of the other addon there.
    """

    def __iter__(self):
        # Odoo loads one registry at a time in each process, and only that one is not ready.
        for registry in Registry.registries.snapshot.values():
            if not registry.ready and _is_of_another_addon(registry.models.get(_MODEL)):
                yield _MODEL


def _is_of_another_addon(model) -> bool:
    # An abstract class cannot extend a transient model. Odoo tells neither of the two in public.
    return model is not None and not model._transient and model._original_module != _ADDON  # noqa: SLF001 - as said


class McpHeartbeat(models.AbstractModel):
    """
    Sends a heartbeat when it is asked to by name; the scheduled action uses `mcp.phone.home.state`.

    Another addon may have a model of this name too. Its method `_cron_send_heartbeat` is called
    then and not this one, so that no heartbeat is sent twice.
    """

    _name = _MODEL
    _inherit = _OfAnotherAddon()
    _description = "MCP Heartbeat"

    @api.model
    def _cron_send_heartbeat(self):
        """Send a heartbeat in the background; never raises."""
        of_another_addon = getattr(super(), "_cron_send_heartbeat", None)
        if of_another_addon is not None:
            return of_another_addon()
        return on_schedule_safely(self.env)
