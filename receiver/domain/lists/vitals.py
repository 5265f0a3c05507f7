"""How many servers there are: the numbers that the receiver exports to Prometheus."""

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Vitals"]


class Vitals(NamedTuple):
    """
    How many servers there are, in which states and stages.

    Not counted are superseded servers (another server took over their database), nodes (lists show
    another server of the same database in their place), and servers whose key was revoked or has
    expired.

    Attributes:
        standing: By state and stage, how many servers have both. The state is a value of
            `contract.State`. The stage is "" if it is unknown, and the digest that `index_text`
            returns if it has more than 200 characters.
        flapping: How many of these servers flap: they stop sending and come back again and again.
    """

    standing: Mapping[tuple[str, str], int]
    flapping: int
