"""What all tests rely on."""

from __future__ import annotations

import signal

# Started in the background of a shell, this process ignores Ctrl-C, and what it starts would, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
