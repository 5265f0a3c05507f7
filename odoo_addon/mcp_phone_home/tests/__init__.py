from . import (
    test_clients,
    test_cron,
    test_health,
    test_heartbeat,
    test_lifecycle,
    test_mcp,
    test_payload,
    test_register_receiver,
    test_registration,
    test_res_config_settings,
    test_tools,
)
