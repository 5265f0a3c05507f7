-- a copy must not report as the server that it was copied from
UPDATE ir_config_parameter
   SET value = ''
 WHERE key IN ('mcp.phone_home_url', 'mcp.phone_home_token');
