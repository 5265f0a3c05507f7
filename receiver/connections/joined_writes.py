"""Writing the head of an answer together with its body."""

from asyncio import Transport
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

__all__ = ["JoinedWrites"]


class JoinedWrites(Transport):
    """
    The transport of one answer, which writes the head of the answer together with its body.

    uvicorn writes the head first, and then the body. The second write is another system call and
    another packet, which take about as long as to merge a heartbeat into a record. So the head
    waits for the body, if the header Content-Length promises one.

    Args:
        cycle: The request that is answered, whose transport writes the answer.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._transport = cycle.transport
        self._head = b""
        """The head while it waits for the body."""

    def write(self, data: Any) -> None:
        cycle = self._cycle
        if not cycle.response_started:  # this is `100 Continue`
            self._transport.write(data)
        elif not self._head and cycle.expected_content_length and cycle.scope["method"] != "HEAD":
            self._head = data
        else:
            self._transport.write(self._head + data)
            # What follows is not joined. Without a reference to each other, both are freed at once.
            cycle.transport = self._transport

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._transport.write(self._head)  # which waits for a body if the app failed before that
        self._transport.close()
