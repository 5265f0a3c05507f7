-- a copy must not report as the server that it was copied from
UPDATE ir_config_parameter
   SET value = ''
 WHERE key IN ('mcp.phone_home_url', 'mcp.phone_home_token');

DELETE FROM ir_config_parameter WHERE key = 'mcp.last_hostname';

-- nor is what somebody was typing good for it
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM information_schema.columns
         WHERE table_name = 'res_config_settings' AND column_name = 'mcp_typed_token'
    ) THEN
        UPDATE res_config_settings SET mcp_typed_token = NULL;
    END IF;
END $$;

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
