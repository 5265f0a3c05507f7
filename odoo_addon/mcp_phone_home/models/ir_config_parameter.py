from odoo import api, models

from ..hooks import PARAMETERS
from ..services.other_addons import in_use_here
from ..services.settings import TOKEN, URL
from ..services.token_origin import remember_token_origin, renew_token_origin


class IrConfigParameter(models.Model):
    """
    Records which receiver the token is for, whenever the token or the receiver's URL changes.

    The token is sent to no other receiver, see `services.token_origin`.

    The uninstallation of another addon deletes no system parameter that this addon uses.
    """

    _inherit = "ir.config_parameter"

    @api.model_create_multi
    def create(self, vals_list):
        created = super().create(vals_list)
        self._mcp_after({vals.get("key") for vals in vals_list})
        return created

    def write(self, vals):
        keys = {*self.mapped("key"), vals.get("key")}
        self._mcp_before(keys)
        result = super().write(vals)
        self._mcp_after(keys)
        return result

    def unlink(self):
        deleted = self - in_use_here(self, PARAMETERS)
        keys = set(deleted.mapped("key"))
        self._mcp_before(keys)
        result = super(IrConfigParameter, deleted).unlink()
        self._mcp_after(keys)
        return result

    @api.model
    def set_param(self, key, value):
        old = super().set_param(key, value)
        # Odoo does not write an unchanged value. Storing the same token again still means that
        # it is for the receiver that is set now.
        if key == TOKEN:
            renew_token_origin(self.env)
        return old

    def _mcp_before(self, keys):
        if URL in keys:
            remember_token_origin(self.env)

    def _mcp_after(self, keys):
        if TOKEN in keys:
            renew_token_origin(self.env)
        if URL in keys:
            remember_token_origin(self.env)
