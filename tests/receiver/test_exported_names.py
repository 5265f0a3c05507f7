"""What others may rely on."""

from starlette.applications import Starlette

import receiver.app


def test_app_is_what_uvicorn_starts() -> None:
    assert ["Tuning", "app", "create_app"] == receiver.app.__all__
    assert isinstance(receiver.app.app, Starlette)
