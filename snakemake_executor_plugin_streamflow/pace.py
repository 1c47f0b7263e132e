"""How long Snakemake's scheduler is kept from choosing jobs, so that it finds several ended at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection

_LONGEST_S = 0.1
"""Jobs that take longer are not waited for: choosing takes Snakemake about as long."""


class Pace:
    """Knows how long jobs take at present.

    Snakemake chooses anew whenever a job has ended, and solves a program for it, which takes longer than a trivial job
    does. Whoever has handed jobs over waits here for a moment: when they have ended meanwhile, the next choice
    fills all their places.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._begun: dict[str, float] = {}
        self._typical_s: float | None = None

    def begin(self, job: str) -> None:
        """Note that a job is about to be handed over."""
        with self._changed:
            self._begun[job] = time.monotonic()

    def end(self, job: str) -> None:
        """Note that a job has ended, and that Snakemake will be told."""
        with self._changed:
            took_s = time.monotonic() - self._begun[job]
            if self._typical_s is None or took_s < self._typical_s:  # the first ones wait for the site, too
                self._typical_s = took_s
            else:
                self._typical_s += (took_s - self._typical_s) / 4

    def told(self, job: str) -> None:
        """Note that Snakemake was told of a job's end."""
        with self._changed:
            del self._begun[job]
            self._changed.notify_all()

    def wait(self, jobs: Collection[str]) -> None:
        """Wait until Snakemake was told of these jobs' ends: for twice what jobs take, and not where they are long."""
        with self._changed:
            if self._typical_s is not None and self._typical_s < _LONGEST_S:
                limit_s = min(2 * self._typical_s, _LONGEST_S)
                self._changed.wait_for(lambda: not any(job in self._begun for job in jobs), limit_s)
