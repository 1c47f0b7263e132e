"""Tables and numbers for people."""

from .table import table
from .words import ago, counted, duration, moment, size

__all__ = ["ago", "counted", "duration", "moment", "size", "table"]
