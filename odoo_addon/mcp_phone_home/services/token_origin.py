"""
The origin (scheme, host and port) of the receiver that the token is for.

The token is sent there only, however the receiver's URL is changed. The system parameter
`mcp.phone_home_token_origin` holds the origin: that of the URL that stood in the database when
the token was stored, or of the first URL that an administrator has set since. The tool
`register_receiver` sets none, since an agent calls it.

A token that is set outside the database (in the environment or odoo.conf) is for the origin
that is set there too; without such an origin, for that in the parameter.
"""

from .origins import origin_of
from .settings import TOKEN, TOKEN_ORIGIN, URL, origin_of_token, outside_the_database, stored


def remember_token_origin(env):
    """Record the origin of the current URL for a token for which no origin is recorded."""
    values = stored(env)
    token = outside_the_database(TOKEN) or values.get(TOKEN)
    if token and not origin_of_token(values):
        _record(env, origin_of(values.get(URL)))


def renew_token_origin(env):
    """Record the origin of the current URL for the token that was just stored or deleted."""
    if outside_the_database(TOKEN):
        return
    values = stored(env)
    _record(env, origin_of(values.get(URL)) if values.get(TOKEN) else None)


def is_token_of_another(env, url) -> bool:
    """Whether there is a token, and it is for another receiver than the one at this URL."""
    values = stored(env)
    if not (outside_the_database(TOKEN) or values.get(TOKEN)):
        return False
    return (origin_of_token(values) or origin_of(values.get(URL))) != origin_of(url)


def _record(env, origin):
    if (stored(env).get(TOKEN_ORIGIN) or None) != origin:
        env["ir.config_parameter"].sudo().set_param(TOKEN_ORIGIN, origin)
