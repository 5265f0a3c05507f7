import ssl
import tempfile
from pathlib import Path

import certifi
from attrs import evolve

from odoo.addons.mcp_phone_home.services.clients import client_for
from odoo.addons.mcp_phone_home.services.settings import receiver_settings

from client import InvalidCertificates

from .common import PhoneHomeCase


class TestClients(PhoneHomeCase):
    def setUp(self):
        super().setUp()
        self.set_params(phone_home_url="https://fleet.example")
        self.settings = receiver_settings(self.env)

    def test_same_settings_share_a_client(self):
        self.assertIs(client_for(self.settings), client_for(receiver_settings(self.env)))

    def test_settings_with_another_token_get_another_client(self):
        other = evolve(self.settings, token="of-another-database")

        self.assertIsNot(client_for(self.settings), client_for(other))

    def test_clients_share_the_loaded_certificates(self):
        contexts = []
        client_for(self.settings)
        self.patch(ssl, "SSLContext", _counted(contexts))
        client_for(evolve(self.settings, token="of-a-third-database"))
        self.assertEqual([], contexts)

    def test_replaced_certificate_file_is_read_again(self):
        with tempfile.TemporaryDirectory() as folder:
            ca = Path(folder) / "ca.pem"
            settings = evolve(self.settings, ca=str(ca))
            for text in (None, "nonsense"):
                if text:
                    ca.write_text(text)
                with self.assertRaises(InvalidCertificates):
                    client_for(settings)
            ca.write_text(Path(certifi.where()).read_text())
            client = client_for(settings)
            self.assertIs(client, client_for(settings))


def _counted(contexts):
    """A subclass of SSLContext that appends each new instance to the list."""

    class Counted(ssl.SSLContext):
        def __new__(cls, *args, **kwargs):
            contexts.append(cls)
            return super().__new__(cls, *args, **kwargs)

    return Counted
