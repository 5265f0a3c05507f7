"""What the addon stores when other transactions change its row all the time, as replicas do."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from odoo_program import OdooProgram
from phoning import SCHEDULE_SECONDS, let_action_run, our_lines, wait_until_up
from servers import receiver_process
from tap import tapped

# Holds the row for most of the time, until it is told to stop or a minute has passed.
KEEP_BUSY = """
DO $$ BEGIN
    FOR turn IN 1..200 LOOP
        UPDATE mcp_phone_home_state SET claims = claims;
        PERFORM pg_sleep(0.25);
        COMMIT;
        PERFORM pg_sleep(0.05);
        EXIT WHEN EXISTS (SELECT FROM ir_config_parameter WHERE key = 'test.calm');
    END LOOP;
END $$
"""
CALM_DOWN = "INSERT INTO ir_config_parameter (key, value) VALUES ('test.calm', '1')"
IS_REGISTERED = "SELECT claims::text LIKE '% started %' FROM mcp_phone_home_state"


def test_registration_is_remembered_while_others_write_the_same_row(
    odoo: OdooProgram, installed: str, tmp_path: Path
) -> None:
    with (
        receiver_process(tmp_path, FLEET_DATABASE_URL=f"sqlite:///{tmp_path}/fleet.db") as receiver,
        tapped(receiver.url) as tap,
        odoo.server(installed) as server,
    ):
        odoo.set_parameters(installed, phone_home_url=tap.url)
        wait_until_up(server)
        with kept_busy(odoo, installed) as busy:
            let_action_run(odoo, server, installed)
            server.wait_until(
                lambda: "t" == odoo.postgres.sql(IS_REGISTERED, database=installed),
                seconds=SCHEDULE_SECONDS,
            )
            assert busy.running(), "nobody wrote the row meanwhile"
        for _ in range(2):
            let_action_run(odoo, server, installed)
        server.wait_until(lambda: len(tap.sent) == 4, seconds=SCHEDULE_SECONDS)

    sent = [each.path for each in tap.sent]
    assert ["/register", "/heartbeat", "/heartbeat", "/heartbeat"] == sent
    assert [] == our_lines(server)


@contextmanager
def kept_busy(odoo: OdooProgram, database: str) -> Iterator[Future[str]]:
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(odoo.postgres.sql, KEEP_BUSY, database=database)
        try:
            yield busy
        finally:
            odoo.postgres.sql(CALM_DOWN, database=database)
        busy.result()
