"""The public names of `receiver.app`."""

from starlette.applications import Starlette

import receiver.app


def test_receiver_app_exports_the_starlette_app() -> None:
    assert ["Tuning", "app", "create_app"] == receiver.app.__all__
    assert isinstance(receiver.app.app, Starlette)
