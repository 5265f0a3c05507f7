-- a neutralized copy must not send messages as the original server
UPDATE ir_config_parameter
   SET value = ''
 WHERE key IN ('mcp.phone_home_url', 'mcp.phone_home_token');

DELETE FROM ir_config_parameter
 WHERE key IN (
    'mcp.announced_endpoint', 'mcp.last_hostname', 'mcp.phone_home_token_origin'
 );

-- the API keys of the original open the copy too, so the MCP endpoint is turned off
INSERT INTO ir_config_parameter (key, value)
VALUES ('mcp.disabled', 'True')
    ON CONFLICT (key) DO UPDATE SET value = 'True';

-- delete a token that somebody typed and did not save
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM information_schema.columns
         WHERE table_name = 'res_config_settings' AND column_name = 'mcp_typed_token'
    ) THEN
        UPDATE res_config_settings SET mcp_typed_token = NULL;
    END IF;
END $$;

-- reset the state; the table is missing in a copy made before the addon had it
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

-- forget what a receiver has asked the original for, and which hosts run the original
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM information_schema.columns
         WHERE table_name = 'mcp_phone_home_state' AND column_name = 'pace'
    ) THEN
        UPDATE mcp_phone_home_state SET pace = NULL;
    END IF;
    IF EXISTS (
        SELECT FROM information_schema.columns
         WHERE table_name = 'mcp_phone_home_state' AND column_name = 'hosts'
    ) THEN
        UPDATE mcp_phone_home_state SET hosts = NULL;
    END IF;
END $$;
