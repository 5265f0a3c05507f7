import tempfile
from pathlib import Path

from odoo.addons.mcp_phone_home.services import other_addons
from odoo.addons.mcp_phone_home.services.other_addons import parameters_of_others

from .common import PhoneHomeCase

KEY = "mcp.server_port"


class TestParametersOfOthers(PhoneHomeCase):
    def is_used_by(self, text):
        """Whether the parameter counts as one of an addon with a file of this text."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        Path(folder.name, "models.py").write_text(text)
        self.patch(other_addons, "get_module_path", lambda addon, **_: folder.name)
        return KEY in parameters_of_others(self.env, [KEY])

    def test_whole_key_is_a_use(self):
        for text in (KEY, f"get_param('{KEY}')", f"<key>{KEY}</key>", f"x{KEY}\n{KEY}\n"):
            with self.subTest(text):
                self.assertTrue(self.is_used_by(text))

    def test_part_of_another_key_is_no_use(self):
        for text in (f"{KEY}_2", f"{KEY}.x", f"x{KEY}", f"our_{KEY}", f"our.{KEY}", f"X-{KEY}"):
            with self.subTest(text):
                self.assertFalse(self.is_used_by(f"get_param('{text}')"))
