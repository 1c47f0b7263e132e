"""What a test costs this process."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import time
from pathlib import Path


class Watch:
    """Watches the memory of this process and how long its loop is held."""

    def __init__(self) -> None:
        self.growth_b = 0
        self.held_s = 0.0

    async def __aenter__(self) -> None:
        gc.collect()
        with contextlib.suppress(AttributeError):  # glibc: what tests before this one have freed must not hide anything
            ctypes.CDLL(None).malloc_trim(0)
        self._start_b = _resident_b()
        self._task = asyncio.create_task(self._look())

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _look(self) -> None:
        while True:
            # The time of the thread itself: on a busy machine, waiting for a processor holds nobody up.
            before, used = time.monotonic(), time.thread_time()
            await asyncio.sleep(0.02)
            self.held_s = max(self.held_s, min(time.monotonic() - before - 0.02, time.thread_time() - used))
            self.growth_b = max(self.growth_b, _resident_b() - self._start_b)


def _resident_b() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
