"""What an administrator of this Odoo can do about a failure."""

from client import InvalidCertificates, InvalidToken, Refused, Untrusted

_SAID_IN = "MCP_PHONE_HOME_TOKEN, mcp_phone_home_token in odoo.conf or mcp.phone_home_token"
_NAMED_IN = "MCP_PHONE_HOME_CA, mcp_phone_home_ca in odoo.conf or mcp.phone_home_ca"

_BY_STATUS = {
    401: f"Set the token that the receiver gave out for this server: {_SAID_IN}.",
    403: "Ask whoever runs the receiver for a key that is good for this server.",
    404: "Look whether mcp.phone_home_url is the address of the receiver.",
    429: "This passes by itself, unless one token serves too many servers.",
}


def with_advice(error) -> str:
    """The error's sentence, and one that says what to do where that is known."""
    return " ".join(filter(None, (str(error), _advice(error))))


def _advice(error):
    if isinstance(error, Refused):
        if 300 <= error.status < 400:
            return "Set mcp.phone_home_url to where the receiver is now, if that is right."
        return _BY_STATUS.get(error.status)
    if isinstance(error, Untrusted):
        return f"If its authority is a private one, name the file of that: {_NAMED_IN}."
    if isinstance(error, InvalidCertificates):
        return f"Nothing is sent. Correct {_NAMED_IN}."
    if isinstance(error, InvalidToken):
        return f"Correct {_SAID_IN}."
    return None
