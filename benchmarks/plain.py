"""The baseline: the simplest Starlette handler, which neither validates nor stores a message."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

__all__ = ["app"]


async def heartbeat(request: Request) -> JSONResponse:
    body = await request.json()
    return JSONResponse({"status": "ok", "server_id": body["server_id"]})


app = Starlette(routes=[Route("/heartbeat", heartbeat, methods=["POST"])])
