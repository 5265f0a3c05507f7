from odoo import http

from odoo.addons.mcp_phone_home.services import routes
from odoo.addons.mcp_phone_home.services.routes import owner_of, paths_of

from .common import PhoneHomeCase

MODULE = "odoo.addons.base.controllers.of_a_test"
OPEN = {"type": "http", "auth": "none", "methods": ["POST"], "csrf": False}


class TestRoutesOfOthers(PhoneHomeCase):
    def paths(self, *paths_and_options):
        """The paths of MCP of an addon with these routes; each has a function of its own."""
        functions = {
            f"answer_{number}": http.route(paths, **options)(_answer())
            for number, (paths, options) in enumerate(paths_and_options)
        }
        members = {**functions, "__module__": MODULE}
        controller = type("OfATest", (http.Controller,), members)
        routes._routes.cache_clear()
        try:
            self.owner = owner_of(self.env, "/mcp/v1")
            return paths_of(self.env, "base")
        finally:
            http.Controller.children_classes["base"].remove(controller)
            routes._routes.cache_clear()

    def test_endpoint_of_mcp_is_known_by_its_path(self):
        known = ("/mcp", "/mcp/v1", "/mcp/v2", "/llm/mcp", "/api/v2/mcp", "/api/v2/mcp/server")
        for path in known:
            with self.subTest(path):
                self.assertEqual((path,), self.paths((path, OPEN)))

    def test_route_for_something_else_is_no_endpoint(self):
        others = (
            "/mcp/auth",
            "/mcp/oauth/register",
            "/mcp/v1/health",
            "/mcp/v1/token",
            "/mcp_server",
            "/mcp-page",
            "/mcp/version",
            "/mcp/<string:key>",
            "/<string:key>/mcp",
        )
        for path in others:
            with self.subTest(path):
                self.assertIsNone(self.paths((path, OPEN)))

    def test_endpoint_of_mcp_is_known_by_who_may_call_it(self):
        callable_by_clients = (
            {"auth": "public"},
            {"auth": "bearer"},
            {"auth": "api_key"},
            {"methods": None},
            {"type": "jsonrpc", "csrf": True},
        )
        for options in callable_by_clients:
            with self.subTest(options):
                self.assertEqual(("/mcp",), self.paths(("/mcp", {**OPEN, **options})))
        for options in ({"auth": "user"}, {"methods": ["GET"]}, {"csrf": True}):
            with self.subTest(options):
                self.assertIsNone(self.paths(("/mcp", {**OPEN, **options})))

    def test_function_at_several_paths_is_one_endpoint(self):
        self.assertEqual(("/mcp", "/mcp/v1"), self.paths((["/mcp/v1", "/mcp"], OPEN)))

    def test_two_endpoints_are_ambiguous(self):
        self.assertIsNone(self.paths(("/mcp", OPEN), ("/shop/mcp", OPEN)))

    def test_route_for_users_of_the_web_client_takes_the_path_all_the_same(self):
        self.assertIsNone(self.paths(("/mcp/v1", {**OPEN, "auth": "user"})))
        self.assertEqual("base", self.owner)


def _answer():
    def answer(self):
        return ""

    answer.__module__ = MODULE
    return answer
