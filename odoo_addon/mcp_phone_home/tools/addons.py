"""The addons of Odoo, by their technical names."""

from functools import lru_cache

from odoo.modules.module import Manifest


def addon_of(module: str) -> str:
    """The addon of a Python module: `stock` for `odoo.addons.stock.models`; empty for none."""
    if not module.startswith("odoo.addons."):
        return ""
    return module.split(".")[2]


def is_installed(env, addon: str) -> bool:
    """Whether an addon is installed in this database, not only in another of this process."""
    return addon in installed(env)


def installed(env) -> set:
    return env.registry._init_modules  # noqa: SLF001 - Odoo has no other list


@lru_cache(maxsize=4096)
def needs(addon: str, other: str) -> bool:
    """Whether an addon depends on the other one, directly or by way of further ones."""
    manifest = Manifest.for_addon(addon, display_warning=False)
    depends = manifest["depends"] if manifest else ()
    return other in depends or any(needs(each, other) for each in depends)
