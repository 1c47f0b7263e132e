"""Pure decisions: events in, instructions out. No I/O, no asyncio, no clock."""

from .bandwidth import Bandwidths
from .demand import Up, unneeded
from .ledger import Dropped, Ledger, Replica
from .placement import Decision, Placement
from .queue import Wanted
from .replicas import Copies, Eviction, copies, evict
from .scale import Resize, Scale, Seen
from .site import Capacity

__all__ = [
    "Bandwidths",
    "Capacity",
    "Copies",
    "Decision",
    "Dropped",
    "Eviction",
    "Ledger",
    "Placement",
    "Replica",
    "Resize",
    "Scale",
    "Seen",
    "Up",
    "Wanted",
    "copies",
    "evict",
    "unneeded",
]
