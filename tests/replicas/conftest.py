from odoo_fixtures import database, installed, odoo

__all__ = ["database", "installed", "odoo"]
