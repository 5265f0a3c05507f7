"""An app for tests: its event streams wait for slow clients as long as it runs."""

from functools import partial

from receiver.app import create_app
from receiver.domain.keys import Power
from receiver.web.routing import Guarded
from receiver.web.sse import event_stream

app = create_app()
_endpoint = partial(event_stream, send_seconds=1e6)
app.router.routes.insert(0, Guarded("/events/stream", _endpoint, methods=["GET"], needs=Power.READ))
