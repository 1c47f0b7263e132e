"""Trouble that lasts is told once, and not at each attempt to overcome it."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import SiteError


class Trouble:
    """What one connection, queue or location suffers from at present."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._told: str | None = None

    def tell(self, error: SiteError, message: str) -> None:
        """Log a message about an error, unless it is the error of the last time."""
        if str(error) != self._told:
            self._told = str(error)
            self._log(message)

    def over(self, message: str = "") -> None:
        """Note that all is well; log the message if it was not."""
        if self._told is not None and message:
            self._log(message)
        self._told = None
