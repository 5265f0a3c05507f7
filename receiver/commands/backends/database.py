"""A fleet that is reached by its database, without a key, while receivers may be running."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from functools import partial
from importlib import metadata

import orjson

from receiver.commands.backends.backend import AlertBackend, Forgotten, Json
from receiver.commands.backends.database_alerts import AUTHOR, DatabaseAlerts
from receiver.commands.context import CommandFailed, Surroundings, in_steps
from receiver.domain.agents.client_files import (
    Client,
    client_file,
    connections_to,
    is_connectable,
)
from receiver.domain.databases import Relabelling
from receiver.domain.errors import StoreUnavailable
from receiver.domain.filter_text import FilterText
from receiver.domain.forgetting import Forgettable, Stage
from receiver.domain.keys import (
    Key,
    NewKey,
    digest,
    new_token,
    path_of,
    warning_about,
)
from receiver.domain.queries import EventFilter, Order, PageRequest, Place
from receiver.service.fleet import Sighting
from receiver.settings import Settings
from receiver.store import SqlStore

__all__ = ["DatabaseBackend"]

_MOST_IN_A_FILE = 1000
_PAGE = 1000
_FOLLOW_SECONDS = 1.0
_ABSENT = timedelta(seconds=10)
"""
No receiver runs if none has noted in the database for this long that it does.

A receiver makes such a note every two seconds.
"""


class DatabaseBackend:
    """
    A `Backend` of an open database.

    Args:
        store: The open database.
        settings: The settings of the receiver.
        surroundings: Gives the current time, and prints what goes wrong while events are followed.
    """

    def __init__(self, store: SqlStore, settings: Settings, surroundings: Surroundings) -> None:
        self._store = store
        self._settings = settings
        self._surroundings = surroundings
        self._clock: Callable[[], datetime] = surroundings.clock

    @property
    def where(self) -> str:
        return str(self._settings.database_url)  # SQLAlchemy masks the password

    @property
    def alerts(self) -> AlertBackend:
        return DatabaseAlerts(self._store, self._settings, self._clock)

    def now(self) -> datetime:
        return self._store.watch.database_time() or self._clock()

    # Servers

    def status(self) -> Json:
        now = self.now()
        vitals = self._store.servers.vitals(now)
        stages: dict[str, dict[str, int]] = {}
        servers: dict[str, int] = {}
        for (state, stage), count in vitals.standing.items():
            stages.setdefault(stage, {})[state] = count
            servers[state] = servers.get(state, 0) + count
        trouble = self._trouble(now)
        return {
            "healthy": trouble is None,
            "trouble": trouble,
            "version": metadata.version("odoo-mcp-fleet"),
            "servers": servers,
            "stages": stages,
            "flapping": vitals.flapping,
            "alarms": self._store.alerts.open_count(),
        }

    def _trouble(self, now: datetime) -> str | None:
        """A sentence that no receiver runs, and since when; None if one runs."""
        seen_at = self._store.watch.last_presence()
        if seen_at is None:
            return "No receiver has ever run on this database."
        if now - seen_at <= _ABSENT:
            return None
        return f"No receiver has run on this database since {seen_at:%Y-%m-%d %H:%M:%S} UTC."

    def servers(
        self, matching: FilterText, *, order: str, limit: int | None = None
    ) -> Iterator[Json]:
        wanted, by = matching.to_filter(), Order(order)
        now = self.now()
        after: Place | None = None
        left = limit
        while left is None or left > 0:
            asked = PageRequest(limit=min(_PAGE, left or _PAGE), now=now, after=after)
            page = self._store.servers.page(wanted, by, asked)
            lapsed = self._lapsed()
            records = page.records
            owners = self._store.servers.owners([each.server_id for each in records])
            nodes = self._store.servers.nodes([r.server_id for r in records if r.node_count])
            for record in records:
                sighting = Sighting(
                    record=record,
                    state=record.state,
                    nodes=nodes.get(record.server_id, ()),
                    is_lapsed=owners.get(record.server_id) in lapsed,
                )
                encoded: Json = orjson.loads(sighting.encode())
                yield encoded
            after = page.next_after
            if after is None:
                return
            left = None if left is None else left - len(records)

    def client_file(self, client: Client, matching: FilterText) -> tuple[str, bool]:
        asked = PageRequest(limit=_MOST_IN_A_FILE, now=self._clock())
        page = self._store.servers.page(matching.to_filter(), Order.SERVER_ID, asked)
        connections = connections_to(
            page.records,
            owners=self._store.servers.owners([record.server_id for record in page.records]),
            lapsed=self._lapsed(),
            may_be_at=partial(
                self._settings.endpoints.include, with_loopback=not self._store.keys.all()
            ),
        )
        reached = [each for each in connections.values() if is_connectable(client, each)]
        if not reached:
            raise CommandFailed(
                "No server that matches reports an endpoint_url that FLEET_ENDPOINTS includes."
            )
        return client_file(client, reached).text, page.next_after is not None

    def _lapsed(self) -> list[str]:
        now = self._clock()
        return [key.id for key in self._store.keys.all() if key.standing(now) != "active"]

    def forget(
        self, matching: FilterText, *, silent_for: timedelta | None, is_dry_run: bool
    ) -> Forgotten:
        now = self.now()
        asked = Forgettable(
            matching=matching.to_filter(),
            heard_before=None if silent_for is None else now - silent_for,
        )
        found: dict[str, None] = {}  # a dry run may return a superseded server twice
        stage: Stage | None = None
        with nullcontext() if is_dry_run else in_steps(found):
            while True:
                step = self._store.servers.forget(asked, now, stage=stage, is_dry_run=is_dry_run)
                found |= dict.fromkeys(step.ids)
                stage = step.next_stage
                if stage is None:
                    return Forgotten([*found])

    def forget_server(self, server_id: str) -> None:
        if not self._store.servers.delete(server_id, self.now()):
            raise _no_such_server(server_id)

    def annotation(self, server_id: str) -> Json:
        found = self._store.labels.of(server_id)
        if found is None:
            raise _no_such_server(server_id)
        return found.to_json(server_id)

    def relabel(self, server_id: str, asked: Json) -> Json:
        change = Relabelling.of(asked)
        stored = self._store.labels.change([server_id], change, at=self.now(), by=AUTHOR)
        if not stored:
            raise _no_such_server(server_id)
        return stored[server_id].to_json(server_id)

    # Events

    def events(self, wanted: EventFilter, *, limit: int) -> list[Json]:
        page = self._store.events.page(wanted, before=None, limit=limit)
        return [each.to_json() for each in reversed(page.events)]

    def follow(self, wanted: EventFilter, *, after: int | None) -> Iterator[Json]:
        last = self._store.events.last() if after is None else after
        is_away = False
        while True:
            try:
                found = self._store.events.after(last, wanted, limit=_PAGE)
                is_away = False
            except StoreUnavailable as error:
                if not is_away:
                    self._surroundings.explain(f"{error}; trying again")
                found, is_away = [], True
            for each in found:
                last = each.id
                yield each.to_json()
            if not found:
                self._surroundings.sleep(_FOLLOW_SECONDS)

    # Keys

    def keys(self) -> list[Json]:
        now = self._clock()
        return [key.to_json(now) for key in self._store.keys.all()]

    def make_key(self, asked: Json) -> Json:
        now = self._clock()
        key, token = NewKey.of(asked, now=now).issue(now=now)
        self._store.keys.add(key)
        warning = warning_about(key.servers)
        return {
            "key": key.to_json(now),
            "token": token,
            "path": path_of(key, token),
            "warnings": [] if warning is None else [warning],
        }

    def revoke_key(self, key_id: str, *, forgets: bool) -> Json:
        now, servers = self._clock(), self._store.servers
        is_revoked = self._store.keys.revoke(key_id, now) or (
            forgets and key_id in {key.id for key in self._store.keys.all()}
        )
        if not is_revoked:
            raise self._no_such_key(key_id)
        revoked: Json = {"status": "revoked", "id": key_id}
        if not forgets:
            return revoked
        # A short transaction for each server: running receivers can write in between.
        deleted: list[str] = []
        is_more = False
        try:
            for each in servers.owned(key_id):
                is_deleted = servers.delete_owned(each, key_id, now)
                deleted += [each] if is_deleted else []
        except StoreUnavailable:  # the key is revoked all the same
            is_more = True
        return {**revoked, "forgotten": len(deleted), "server_ids": deleted, "more": is_more}

    def rotate_key(self, key_id: str, expires_at: datetime | None) -> Json:
        key = self._key(key_id)
        expires_at = expires_at or key.expires_at
        if expires_at is not None and expires_at <= self._clock():
            raise CommandFailed(
                f"The key {key.id} has expired: give it another time with --expires"
            )
        token = new_token(key.id)
        if not self._store.keys.rotate(key.id, digest(token), expires_at):
            raise self._no_such_key(key.id)
        return {
            "status": "rotated",
            "id": key.id,
            "token": token,
            "path": path_of(key, token),
        }

    def hand_over(self, ids: Sequence[str], to: str) -> list[str]:
        key = self._key(to)
        now = self._clock()
        reasons = dict.fromkeys(key.why_not_own(server_id, now) for server_id in ids)
        told = [reason for reason in reasons if reason is not None]
        if told:
            raise CommandFailed("\n".join(told))
        return self._store.servers.hand_over(ids, to)

    def owned(self, key_id: str) -> list[str]:
        return self._store.servers.owned(self._key(key_id).id)

    def _key(self, key_id: str) -> Key:
        for key in self._store.keys.all():
            if key.id == key_id:
                return key
        raise self._no_such_key(key_id)

    def _no_such_key(self, key_id: str) -> CommandFailed:
        return CommandFailed(
            f"There is no key {key_id!r} that is not revoked; "
            f"see: {self._surroundings.program} keys list"
        )


def _no_such_server(server_id: str) -> CommandFailed:
    return CommandFailed(f"There is no server {server_id!r}.")
