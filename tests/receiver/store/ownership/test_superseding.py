"""A key must not supersede servers of another key."""

from typing import Any

from attrs import evolve

from contract import Heartbeat
from owned_servers import beat, new_key
from receiver.domain.outcomes import Incoming
from watched import Watched


def test_server_of_another_key_does_not_supersede(fleet: Watched) -> None:
    """A client that follows `superseded_by` would otherwise reach the machine of an attacker."""
    acme, evil = (new_key(fleet.store, "agent", servers=f"{name}_*") for name in ("acme", "evil"))
    said: Any = {"database": "acme", "database_uuid": "u", "odoo_stage": "production"}
    beat(fleet.store, acme, "acme_1", **said)
    fleet.go_on(300)
    forged = Heartbeat(server_id="evil_1", **said)
    fleet.store.servers.apply([Incoming(forged, fleet.now, evil)])

    fleet.sweep()

    assert ("down", None) == (fleet.state("acme_1"), fleet.record("acme_1").superseded_by)


def test_server_of_the_same_key_supersedes(fleet: Watched) -> None:
    acme = new_key(fleet.store, "agent")
    said: Any = {"database": "acme", "database_uuid": "u"}
    beat(fleet.store, acme, "acme_1", **said)
    fleet.clock.advance(300)
    rebuilt = Heartbeat(server_id="acme_2", **said)
    fleet.store.servers.apply([Incoming(rebuilt, fleet.now, acme)])

    fleet.sweep()

    assert "acme_2" == fleet.record("acme_1").superseded_by


def test_servers_of_another_key_do_not_hide_a_rebuild(fleet: Watched) -> None:
    """Sixty servers with one uuid disable rebuilds, but only among servers of one key."""
    acme, evil = new_key(fleet.store, "agent"), new_key(fleet.store, "agent")
    said: Any = {"database": "acme", "database_uuid": "u"}
    beat(fleet.store, evil, *(f"evil_{n}" for n in range(60)), **said)
    beat(fleet.store, acme, "acme_1", **said)
    fleet.clock.advance(300)
    rebuilt = Heartbeat(server_id="acme_2", **said)
    fleet.store.servers.apply([Incoming(rebuilt, fleet.now, acme)])

    fleet.sweep()

    assert "acme_2" == fleet.record("acme_1").superseded_by


def test_server_without_an_owner_is_superseded(fleet: Watched) -> None:
    """Otherwise a rebuild after the first key was made would stay an alarm forever."""
    acme = new_key(fleet.store, "agent")
    said: Any = {"database": "acme", "database_uuid": "u"}
    beat(fleet.store, None, "acme_1", **said)
    fleet.clock.advance(300)
    fleet.store.servers.apply([Incoming(Heartbeat(server_id="acme_2", **said), fleet.now, acme)])

    fleet.sweep()

    assert "acme_2" == fleet.record("acme_1").superseded_by


def test_sweep_keeps_the_owner(fleet: Watched) -> None:
    acme = new_key(fleet.store, "agent")
    beat(fleet.store, acme, "acme_1")
    fleet.clock.advance(300)
    fleet.sweep()

    assert acme.id == fleet.store.servers.owner("acme_1")
    late = evolve(acme, id="another")
    assert ["server_of_another_key"] == beat(fleet.store, late, "acme_1")


def test_deletion_of_a_successor_keeps_the_owner(fleet: Watched) -> None:
    acme = new_key(fleet.store, "agent")
    said: Any = {"database": "acme", "database_uuid": "u"}
    beat(fleet.store, acme, "acme_1", **said)
    fleet.clock.advance(300)
    fleet.store.servers.apply([Incoming(Heartbeat(server_id="acme_2", **said), fleet.now, acme)])
    fleet.sweep()
    fleet.store.servers.delete("acme_2", fleet.now)

    assert acme.id == fleet.store.servers.owner("acme_1")
    another = evolve(acme, id="another")
    assert ["server_of_another_key"] == beat(fleet.store, another, "acme_1")
