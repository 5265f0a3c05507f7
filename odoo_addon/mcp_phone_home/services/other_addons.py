"""What other installed addons have in common with this one."""

import os
from pathlib import Path
from string import ascii_letters, digits

from odoo.modules import get_module_path

from odoo.addons.base.models.ir_model import MODULE_UNINSTALL_FLAG

from .routes import ADDON

# Where an addon may name a system parameter.
_SUFFIXES = (".py", ".xml", ".csv", ".sql")
_LEFT_OUT = {"static", "tests"}


def parameters_of_others(env, keys) -> set:
    """
    The system parameters, of these keys, that another installed addon owns or uses.

    It owns one that is among its data, and uses one that its files name.
    """
    found = _owned(env, keys)
    for addon in _other_addons(env):
        found |= _named_in(get_module_path(addon, display_warning=False), keys)
    return found


def in_use_here(parameters, keys):
    """
    Those of some system parameters, about to be deleted, that this addon still uses: of these keys.

    None but when another addon is being uninstalled, among whose data they are: an administrator
    may have set them for this addon.
    """
    env = parameters.env
    if not env.context.get(MODULE_UNINSTALL_FLAG) or not _is_installed(env):
        return parameters.browse()
    return parameters.filtered(lambda each: each.key in keys)


def _is_installed(env) -> bool:
    """Whether this addon is installed, and is not being uninstalled."""
    states = env["ir.module.module"].sudo().search([("name", "=", ADDON)]).mapped("state")
    return not {"installed", "to upgrade"}.isdisjoint(states)


def _owned(env, keys) -> set:
    parameters = env["ir.config_parameter"].search([("key", "in", list(keys))])
    data = env["ir.model.data"].search(
        [
            ("model", "=", "ir.config_parameter"),
            ("res_id", "in", parameters.ids),
            ("module", "!=", ADDON),
        ]
    )
    return set(parameters.browse(data.mapped("res_id")).mapped("key"))


def _other_addons(env) -> list:
    return (
        env["ir.module.module"]
        .search([("state", "in", ("installed", "to upgrade")), ("name", "!=", ADDON)])
        .mapped("name")
    )


def _named_in(folder, keys) -> set:
    """The keys that the addon's files name; its tests and what a browser loads are left out."""
    found = set()
    for path, folders, files in os.walk(folder or os.devnull):
        folders[:] = [each for each in folders if each not in _LEFT_OUT]
        for name in files:
            if name.endswith(_SUFFIXES):
                found |= _named_by(Path(path, name), keys)
    return found


def _named_by(path, keys) -> set:
    try:
        text = path.read_bytes()
    except OSError:
        return set()
    return {key for key in keys if _is_named(key.encode(), text)}


def _is_named(key, text) -> bool:
    """Whether the text has the key, and not only a longer one that it is a part of."""
    at = text.find(key)
    while at >= 0:
        end = at + len(key)
        if text[max(0, at - 1) : at] not in _WORD and text[end : end + 1] not in _WORD:
            return True
        at = text.find(key, at + 1)
    return False


_WORD = {bytes([char]) for char in f"{ascii_letters}{digits}_.-".encode()}
