import functools

from .services.lifecycle import after_install, before_uninstall
from .services.other_addons import parameters_of_others
from .services.token_origin import remember_token_origin

PARAMETERS = (
    "mcp.allowed_origins",
    "mcp.announced_endpoint",
    "mcp.disabled",
    "mcp.endpoint_url",
    "mcp.heartbeat_longest_interval",
    "mcp.last_hostname",
    "mcp.phone_home_ca",
    "mcp.phone_home_retries",
    "mcp.phone_home_timeout",
    "mcp.phone_home_token",
    "mcp.phone_home_token_origin",
    "mcp.phone_home_url",
    "mcp.server_port",
)


def post_init_hook(env):
    """Register the server after the install is committed, and not when it is rolled back."""
    env.cr.postcommit.add(functools.partial(after_install, env.registry))


def uninstall_hook(env):
    """
    Send the receiver a farewell, and delete the addon's system parameters.

    Those that another installed addon owns or uses stay.
    """
    before_uninstall(env)
    # Deleting the URL records the token's origin in a parameter; do that first, so that the
    # search finds this parameter too.
    remember_token_origin(env)
    kept = parameters_of_others(env, PARAMETERS)
    own = [key for key in PARAMETERS if key not in kept]
    env["ir.config_parameter"].search([("key", "in", own)]).unlink()
