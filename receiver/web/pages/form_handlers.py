"""
What the handlers of all forms share: the fields, the CSRF token, and asking for confirmation.

Every form must contain the CSRF token of its browser, which `cookies.check_form` checks. A change
is answered with a redirect, so that a page that is loaded again makes no change twice.
"""

from collections.abc import Awaitable, Callable, Mapping

from attrs import frozen
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from contract import InvalidMessage
from receiver.domain.errors import Refusal
from receiver.web import cookies
from receiver.web.context import services
from receiver.web.pages.rendering import answer
from receiver.web.problems import refusal
from receiver.web.requests import form_fields

__all__ = ["Act", "Fields", "Question", "confirmed", "form"]

Fields = Mapping[str, str]
Act = Callable[[Request, Fields], Awaitable[RedirectResponse]]
"""Makes the change that a form is for, and redirects to the page that shows it."""


def form(
    act: Act,
    *,
    refused: Callable[[Request, Fields, Refusal], Awaitable[Response]] | None = None,
) -> Callable[[Request], Awaitable[Response]]:
    """
    Make the endpoint that handles a posted form; it reads the fields and checks the CSRF token.

    Args:
        act: Makes the change that the form is for.
        refused: Renders the form again, with the error; None shows the general error page.
    """

    async def take(request: Request) -> Response:
        timeout = services(request).body_timeout
        fields = await form_fields(request.scope, request.receive, timeout)
        try:
            cookies.check_form(request.scope, fields)
            return await act(request, fields)
        except (Refusal, InvalidMessage) as error:
            if refused is None:
                raise
            return await refused(request, fields, refusal(error))

    return take


@frozen(kw_only=True)
class Question:
    """
    The texts of a page that asks for confirmation before a change.

    Attributes:
        title: The question.
        about: The name of what would be changed, such as a server or a key.
        says: The consequences of the change, a sentence for each.
        does: The text of the button that makes the change.
        back: The path of the page to return to without a change.
        also: The label of a checkbox that asks for a further change; None for no checkbox. The
            field of the form is called `also`.
    """

    title: str
    about: str
    says: list[str]
    does: str
    back: str
    also: str | None = None


def confirmed(
    about: Callable[[Request], Awaitable[Question]],
    act: Act,
) -> Callable[[Request], Awaitable[Response]]:
    """
    Make the endpoint that asks for confirmation (GET), and then makes a change (POST).

    Args:
        about: Returns the texts of the page that asks.
        act: Makes the change.
    """

    async def ask(request: Request, _: Fields, refused: Refusal | None) -> Response:
        return answer(
            request,
            "sure.html",
            status=200 if refused is None else refused.status,
            question=await about(request),
            refused=refused,
        )

    async def ask_again(request: Request, fields: Fields, refused: Refusal) -> Response:
        if refused.code != "form_expired":
            raise refused
        return await ask(request, fields, refused)

    taken = form(act, refused=ask_again)

    async def page(request: Request) -> Response:
        return await (taken(request) if request.method == "POST" else ask(request, {}, None))

    return page
