"""
Databases: which servers are of one, and how their records change as time passes.

The servers with one `database_uuid` are checked together, since each may be another one's node,
successor or copy. *Nodes* are servers of one database, such as the Odoo processes of a cluster;
they share a *line*: one of them, the leader, stands for the database in lists and alarms, and is
alive while any of them is heard. A *rebuild* is a line that falls silent while its database goes
on under another server, which supersedes it. *Twins* are two lines that send in parallel for two
databases: one is a copy of the other. Everything here is a pure function of rows and time.
"""

from receiver.domain.databases.conflicts import CONFLICT, repeats_after
from receiver.domain.databases.decisions import Decision, decide

__all__ = ["CONFLICT", "Decision", "decide", "repeats_after"]
