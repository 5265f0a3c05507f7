"""Advice for the administrator of this Odoo after a failed request to the receiver."""

from client import (
    InvalidCertificates,
    InvalidToken,
    Refused,
    TimedOut,
    Unreachable,
    Untrusted,
)

from .proxies import proxy_for

_SAID_IN = "in the settings, as MCP_PHONE_HOME_TOKEN or as mcp_phone_home_token in odoo.conf"
_NAMED_IN = "in the settings, as MCP_PHONE_HOME_CA or as mcp_phone_home_ca in odoo.conf"

_NAMED_BY = "that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names in the environment of Odoo"

_BY_STATUS = {
    401: f"Set the token that the receiver gave out for this server, {_SAID_IN}.",
    403: "Ask whoever runs the receiver for a key that is good for this server.",
    404: "Look whether the URL in the settings is the address of the receiver.",
    429: "This passes by itself, unless one token serves too many servers.",
}


def with_advice(error, settings) -> str:
    """The text of a ClientError, followed by a sentence of advice where there is one."""
    return " ".join(filter(None, (naming_proxy(error, str(error)), advice(error, settings))))


def naming_proxy(error, sentence) -> str:
    """
    The sentence for a ClientError, or another one that names the proxy.

    It names a proxy that cannot be reached, so that nobody looks for the fault at the receiver,
    and the proxy by which a receiver did not answer in time.
    """
    if not isinstance(error, (Unreachable, TimedOut)) or isinstance(error, Untrusted):
        return sentence
    proxy = proxy_for(error.url)
    if proxy is None:
        return sentence
    if isinstance(error, TimedOut):
        return f"{sentence} It is asked by way of the proxy {proxy}, {_NAMED_BY}."
    reason = proxy.why_unreachable()
    if reason is None:
        return sentence
    return (
        f"The proxy {proxy}, by way of which the receiver at {error.url} is asked, cannot be "
        f"reached: {reason}. It is the one {_NAMED_BY}."
    )


def advice(error, settings) -> str | None:
    """What to do about a ClientError with these ReceiverSettings; None where nothing is known."""
    if isinstance(error, Refused):
        if error.status == 401 and settings.token_is_for:
            return (
                f"The token is for {settings.token_is_for} and was not sent. Set that of this "
                f"receiver, {_SAID_IN}; outside the database, name its origin too, as "
                "MCP_PHONE_HOME_TOKEN_ORIGIN or as mcp_phone_home_token_origin."
            )
        return _of_status(error.status)
    if isinstance(error, Untrusted):
        return f"If its authority is a private one, name the file of that {_NAMED_IN}."
    if isinstance(error, InvalidCertificates):
        return f"Nothing is sent. Correct what is named {_NAMED_IN}."
    if isinstance(error, InvalidToken):
        return f"Correct it {_SAID_IN}."
    return None


def _of_status(status):
    if 300 <= status < 400:
        return "Set the URL in the settings to where the receiver is now, if that is right."
    if status >= 500:
        return "This passes by itself, or whoever runs the receiver has to mend it."
    return _BY_STATUS.get(status)
