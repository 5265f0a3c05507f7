"""
Finds out which servers share an Odoo database, and how their records change as time passes.

Servers with the same `database_uuid` are checked together, because one may be a node, the successor
or a copy of another:

- Nodes are servers of one database, such as the Odoo processes of a cluster. All servers that are
  known to share a database, or a server that shares it with no other, form a `Line`. One of them,
  the leader, represents the line in lists and alarms: its record is late or down only when all
  nodes have stopped sending.
- A rebuild is a line that has stopped sending while another line sends for the same database. The
  leader of that other line supersedes the leader of the rebuilt one: it takes its place.
- Twins are two lines that send in parallel, each for a database of its own: one of the databases
  is a copy of the other.

The labels and the note that people give to a database belong to all servers with its UUID.

A server or a line that stops sending and comes back again and again flaps: its changes are only
counted, and do not cause events.

Everything here is a pure function of rows and time.
"""

from receiver.domain.databases.conflicts import CONFLICT, repeats_after
from receiver.domain.databases.decisions import Decision, decide
from receiver.domain.databases.flapping import calmed, damped
from receiver.domain.databases.labels import (
    LONGEST_NOTE,
    NO_ANNOTATION,
    NOTHING_NOTED,
    Annotation,
    Noted,
    Relabelling,
    family_of,
    joined,
    labels_in,
    subject_of,
    told_of_labels,
)

__all__ = [
    "CONFLICT",
    "LONGEST_NOTE",
    "NOTHING_NOTED",
    "NO_ANNOTATION",
    "Annotation",
    "Decision",
    "Noted",
    "Relabelling",
    "calmed",
    "damped",
    "decide",
    "family_of",
    "joined",
    "labels_in",
    "repeats_after",
    "subject_of",
    "told_of_labels",
]
