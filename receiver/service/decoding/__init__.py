"""
Decodes the bodies of requests to registrations and heartbeats.

`decode` and `decode_batch` are for one message and for a list; `Known` makes them faster for those
that repeat what is known.
"""

from receiver.service.decoding.known import Known
from receiver.service.decoding.reader import (
    MAX_BATCH_BYTES,
    MAX_BATCH_SIZE,
    MAX_MESSAGE_BYTES,
    MAX_REGISTRATION_BYTES,
    Found,
    Messages,
    decode,
    decode_batch,
)

__all__ = [
    "MAX_BATCH_BYTES",
    "MAX_BATCH_SIZE",
    "MAX_MESSAGE_BYTES",
    "MAX_REGISTRATION_BYTES",
    "Found",
    "Known",
    "Messages",
    "decode",
    "decode_batch",
]
