"""What must survive a crash."""

from .journal import Journal, Observed

__all__ = ["Journal", "Observed"]
