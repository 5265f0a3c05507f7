from . import test_cron, test_heartbeat, test_payload, test_registration, test_tools
