from odoo_fixtures import database, odoo

__all__ = ["database", "odoo"]
