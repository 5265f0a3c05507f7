"""Browser sessions, and secrets that all receivers of a database share, in the database."""

from datetime import datetime
from secrets import token_bytes

from attrs import asdict
from sqlalchemy import Connection, bindparam, delete, insert, select

from receiver.domain.sessions import Session
from receiver.store.tables import secrets, sessions
from receiver.store.transactions import Transactions

__all__ = ["Sessions"]


class Sessions:
    """
    The browser sessions in a database.

    Each method is one transaction, and raises StoreUnavailable when the database does not answer.
    """

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def begin(self, session: Session, now: datetime) -> None:
        """Store a new session, and delete all that have expired by `now`."""

        def work(connection: Connection) -> None:
            connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
            connection.execute(insert(sessions), asdict(session))

        self._transactions.write(work)

    def find(self, digest: bytes) -> Session | None:
        """The session whose token has this digest; it may have expired. None if there is none."""
        with self._transactions.read_once() as connection:
            row = connection.execute(_ONE, {"digest": digest}).mappings().one_or_none()
        return None if row is None else Session(**row)

    def end(self, digest: bytes) -> None:
        """Delete the session whose token has this digest, if it exists."""
        query = delete(sessions).where(sessions.c.digest == digest)
        self._transactions.write(lambda connection: connection.execute(query))

    def secret(self, name: str) -> bytes:
        """
        The secret with this name, 32 random bytes that all receivers of the database share.

        The first call creates the secret. Of two receivers that create it at the same time, one
        violates the primary key; its transaction runs again and finds the secret of the other.
        """

        def work(connection: Connection) -> bytes:
            found = connection.execute(_SECRET, {"secret": name}).scalar()
            if found is None:
                found = token_bytes(32)
                connection.execute(insert(secrets), {"name": name, "value": found})
            return bytes(found)

        return self._transactions.write(work)


_ONE = select(sessions).where(sessions.c.digest == bindparam("digest"))
_SECRET = select(secrets.c.value).where(secrets.c.name == bindparam("secret"))
