"""Forms while the database does not answer."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from form_filling import follow, form_of, new_browser, posts, receiver_on, shown, signed_in, title
from keyring import bearer, keep, made
from outages import away
from receiver.app import Tuning, create_app
from servers import ANY_PAUSE_SECONDS, Clock, Observed, serve


def test_sign_in_and_out_fail_while_the_database_is_unavailable(
    sqlite_url: str, clock: Clock, tmp_path: Path
) -> None:
    viewer, token = made("viewer")
    keep(sqlite_url, viewer)
    with receiver_on(sqlite_url, clock) as receiver:
        form = form_of(receiver.get("/"))
        signed_in(receiver, token)
        with closing(sqlite3.connect(tmp_path / "fleet.db")) as database:
            database.execute("ALTER TABLE sessions RENAME TO gone")
            answers = [
                receiver.get("/"),
                receiver.get("/servers"),
                posts(receiver, "/sign-out", {}),
                posts(new_browser(receiver), "/sign-in", {**form, "key": token}),
            ]
            database.execute("ALTER TABLE gone RENAME TO sessions")

        assert [503, 503, 403, 403] == [answer.status_code for answer in answers]
        assert "The fleet cannot be read right now" == title(answers[0])
        assert "store_unavailable" == answers[1].json()["code"]
        assert 200 == receiver.get("/").status_code


@pytest.mark.parametrize("method", ["begin", "end"])
def test_person_stays_signed_in_when_the_database_fails_while_they_sign_in_again(
    sqlite_url: str, clock: Clock, method: str
) -> None:
    viewer, token = made("viewer")
    keep(sqlite_url, viewer)
    tuning = Tuning(absence_seconds=ANY_PAUSE_SECONDS)
    app = Observed(
        create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock, tuning=tuning)
    )
    with serve(app) as receiver:
        signed_in(receiver, token)
        form = form_of(receiver.get("/sign-in"), action="sign-in")
        with away(app.services.store.sessions, method):
            answer = receiver.post("/sign-in", data={**form, "key": token})

        assert [503, 200] == [answer.status_code, receiver.get("/").status_code]


def test_new_key_is_shown_while_the_database_is_unavailable(
    sqlite_url: str, clock: Clock, tmp_path: Path
) -> None:
    admin, token = made("admin")
    keep(sqlite_url, admin)
    with receiver_on(sqlite_url, clock) as receiver:
        signed_in(receiver, token)
        form = form_of(receiver.get("/keyring"), action="/keyring")
        sent = posts(receiver, "/keyring", {**form, "name": "a", "scope": "viewer"})
        with closing(sqlite3.connect(tmp_path / "fleet.db")) as database:
            database.execute("ALTER TABLE sessions RENAME TO gone")
            page = follow(receiver, sent)
            database.execute("ALTER TABLE gone RENAME TO sessions")
        assert 200 == receiver.get("/servers", headers=bearer(shown(page))).status_code
