from . import (
    test_clients,
    test_cron,
    test_health,
    test_heartbeat,
    test_lifecycle,
    test_payload,
    test_registration,
    test_tools,
)
