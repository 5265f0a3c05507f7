import importlib
from importlib import metadata

from lxml import etree

from odoo.modules.module import Manifest, MissingDependency
from odoo.tests import TransactionCase, tagged
from odoo.tools.safe_eval import safe_eval

ADDON = "mcp_phone_home"


@tagged("post_install", "-at_install")
class TestModule(TransactionCase):
    def test_module_is_found_in_apps_by_what_it_is_about(self):
        """The search of Apps, with the filter that is on when it opens."""
        action = self.env.ref("base.open_module_tree").read(["context"])[0]
        self.assertIn("search_default_app", action["context"])
        view = self.env["ir.module.module"].get_view(self.env.ref("base.view_module_filter").id)
        arch = etree.fromstring(view["arch"])
        (app,) = arch.xpath("//filter[@name='app']/@domain")
        (typed,) = arch.xpath("//field[@name='name']/@filter_domain")

        for words in ("MCP", "agent", "heartbeat"):
            with self.subTest(words):
                domain = [*safe_eval(app), *safe_eval(typed, {"self": words})]
                found = self.env["ir.module.module"].search(domain)
                self.assertIn(ADDON, found.mapped("name"))

    def test_module_has_a_category_of_its_own(self):
        module = self.env["ir.module.module"].search([("name", "=", ADDON)])

        self.assertEqual("MCP", module.category_id.name)

    def test_missing_dependency_is_named(self):
        known = metadata.version
        for missing in ("attrs", "httpx", "jsonschema", "odoo-mcp-fleet", "psutil", "tenacity"):

            def version(name, missing=missing):
                if name == missing:
                    raise metadata.PackageNotFoundError(name)
                return known(name)

            self.patch(metadata, "version", version)
            # Odoo falls back to a module of that name.
            self.patch(importlib, "import_module", _no_module)
            with self.subTest(missing), self.assertRaisesRegex(MissingDependency, missing):
                Manifest.for_addon(ADDON).check_manifest_dependencies()

    def test_library_that_is_too_old_is_named(self):
        known = metadata.version
        self.patch(
            metadata, "version", lambda name: "0.1.0" if name == "odoo-mcp-fleet" else known(name)
        )

        with self.assertRaises(MissingDependency) as raised:
            Manifest.for_addon(ADDON).check_manifest_dependencies()
        for word in ("version", "0.1.0", "odoo-mcp-fleet"):
            self.assertIn(word, str(raised.exception))


def _no_module(name, package=None):
    raise ImportError(name)
