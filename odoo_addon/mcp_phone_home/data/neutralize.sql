-- a copy must not report as the server that it was copied from
UPDATE ir_config_parameter
   SET value = ''
 WHERE key IN ('mcp.phone_home_url', 'mcp.phone_home_token');

DELETE FROM ir_config_parameter WHERE key = 'mcp.last_hostname';

-- nor has it ever reported; the copy of an older version has no such table yet
DO $$
BEGIN
    IF to_regclass('mcp_phone_home_state') IS NOT NULL THEN
        UPDATE mcp_phone_home_state
           SET last_success_at = NULL,
               last_failure_at = NULL,
               last_failure_reason = NULL,
               claims = NULL,
               recent_calls = NULL;
    END IF;
END $$;
