import functools

from .services.lifecycle import after_install, before_uninstall

PARAMETERS = (
    "mcp.endpoint_url",
    "mcp.last_hostname",
    "mcp.phone_home_ca",
    "mcp.phone_home_retries",
    "mcp.phone_home_timeout",
    "mcp.phone_home_token",
    "mcp.phone_home_url",
    "mcp.server_port",
)


def post_init_hook(env):
    """Register once the install is committed: one that is rolled back was never heard of."""
    env.cr.postcommit.add(functools.partial(after_install, env.registry))


def uninstall_hook(env):
    """Leave no parameter behind, and tell the receiver."""
    before_uninstall(env)
    env["ir.config_parameter"].search([("key", "in", PARAMETERS)]).unlink()
