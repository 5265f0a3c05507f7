"""An app for tests that kill it: others may send its messages after eight seconds."""

from receiver.app import Tuning, create_app

app = create_app(tuning=Tuning(alert_seconds=0.1, sending_seconds=4))
