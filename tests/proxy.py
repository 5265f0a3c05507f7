"""Test helper: a proxy between a store and PostgreSQL that breaks connections on demand."""

import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from postgres import Postgres

SOCKET = ".s.PGSQL.5432"


class Link:
    """
    One connection through a proxy.

    Attributes:
        client: Socket to the store.
        server: Socket to PostgreSQL.
    """

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server

    def cut(self) -> None:
        for end in (self.client, self.server):
            hang_up(end)

    def close(self) -> None:
        for end in (self.client, self.server):
            end.close()


Passes = Callable[[Link, bytes], bool]


class Proxy:
    """
    A proxy on a Unix socket between a store and PostgreSQL.

    Attributes:
        folder: Folder of the socket; the "host" to which a store connects.
        request_passes: Called for each chunk from the store; it may block. When it returns
            False, the proxy drops the chunk and cuts the connection.
        answer_passes: The same for each chunk from PostgreSQL.
        changed: Returns what is sent to the store in place of a chunk from PostgreSQL.
    """

    def __init__(self, postgres: Postgres) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fleet-proxy-"))
        self._target = str(postgres.socket_folder / SOCKET)
        self._links: list[Link] = []
        self._threads: list[threading.Thread] = []
        self.let_all_pass()
        self.listen()

    def let_all_pass(self) -> None:
        self.request_passes: Passes = lambda _, __: True
        self.answer_passes: Passes = lambda _, __: True
        self.changed: Callable[[bytes], bytes] = bytes

    def listen(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.folder / SOCKET))
        self._listener.listen()
        self._accepting = self._start(self._accept, self._listener)

    def refuse(self) -> None:
        """Refuse new connections from now on; `cut_all` cuts all that were accepted before."""
        hang_up(self._listener)
        self._accepting.join()
        (self.folder / SOCKET).unlink(missing_ok=True)

    def cut_all(self) -> None:
        for link in self._links:
            link.cut()

    def close(self) -> None:
        self.let_all_pass()
        self.refuse()
        self.cut_all()
        for thread in self._threads:
            thread.join()
        for link in self._links:
            link.close()
        shutil.rmtree(self.folder)

    def _start(self, work: Callable[..., None], *args: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=args)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self, listener: socket.socket) -> None:
        with listener, suppress(OSError):
            while True:
                client, _ = listener.accept()
                link = Link(client, socket.socket(socket.AF_UNIX))
                self._links.append(link)
                link.server.connect(self._target)
                self._start(self._carry_requests, link)
                self._start(self._carry_answers, link)

    def _carry_requests(self, link: Link) -> None:
        carry(link.client, link.server, lambda data: self.request_passes(link, data), bytes)
        link.cut()

    def _carry_answers(self, link: Link) -> None:
        carry(
            link.server,
            link.client,
            lambda data: self.answer_passes(link, data),
            lambda data: self.changed(data),  # noqa: PLW0108 - a test sets it later
        )
        link.cut()


def carry(
    source: socket.socket,
    sink: socket.socket,
    passes: Callable[[bytes], bool],
    changed: Callable[[bytes], bytes],
) -> None:
    with suppress(OSError):
        while (data := source.recv(65536)) and passes(data):
            sink.sendall(changed(data))


def hang_up(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


class Once:
    """
    A `request_passes` or `answer_passes` for `Proxy` that cuts one connection.

    It returns False for the n-th chunk (`pieces`, by default the first) with `word` in it, and
    True for all others.
    """

    def __init__(self, word: bytes = b"", *, pieces: int = 1) -> None:
        self.left = pieces
        self.word = word
        self._lock = threading.Lock()  # each connection has a thread of its own

    @property
    def happened(self) -> bool:
        return self.left == 0

    def __call__(self, _: Link, data: bytes) -> bool:
        with self._lock:
            if self.happened or self.word not in data:
                return True
            self.left -= 1
            return self.left > 0
