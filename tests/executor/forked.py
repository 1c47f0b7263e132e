"""Snakemake with its imports done once: runs of the tests are forked from one process rather than started anew.

The imports are most of what a small run costs. What is killed or watched while it runs, and what depends on how Python
starts, is started as users do: with `running.command()`.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

IMPORTED = """
snakemake.cli snakemake.dag snakemake.executors.local snakemake.scheduling.job_scheduler snakemake.report
pulp jinja2 yte
snakemake_executor_plugin_streamflow.executor snakemake_executor_plugin_streamflow.engine
snakemake_storage_plugin_streamflow.provider snakemake_storage_plugin_fs asyncssh
"""


class Forkserver:
    """A process that has imported Snakemake and both plugins, and forks a run at each request."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", __name__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        atexit.register(self._process.communicate)  # the end of its input ends it

    def run(self, args: Sequence[str], cwd: Path, env: Mapping[str, str], timeout_s: float) -> tuple[int, bytes]:
        """Run `snakemake` with some arguments; return its exit code and what it said, standard output first.

        Raises:
            subprocess.TimeoutExpired: it took longer than `timeout_s` seconds, and was killed.
        """
        assert self._process.stdin
        assert self._process.stdout
        with tempfile.TemporaryDirectory() as folder:
            request = {"args": list(args), "cwd": str(cwd), "env": dict(env), "said": folder, "timeout_s": timeout_s}
            print(json.dumps(request), file=self._process.stdin, flush=True)
            code = int(self._process.stdout.readline())
            text = b"".join(Path(folder, name).read_bytes() for name in ("stdout", "stderr"))
        if code == -signal.SIGALRM:
            raise subprocess.TimeoutExpired(list(args), timeout_s, text)
        return code, text


@cache
def forkserver() -> Forkserver:
    """Return the one of this test process."""
    return Forkserver()


def become(request: dict[str, Any]) -> None:
    """Make this process, just forked, one that `python -m snakemake` would have started."""
    for number, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, f"{request['said']}/stdout", os.O_WRONLY | os.O_CREAT),
        (2, f"{request['said']}/stderr", os.O_WRONLY | os.O_CREAT),
    ):
        os.dup2(os.open(name, flags), number)
    os.closerange(3, 64)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.path[0] = request["cwd"]
    sys.argv = [str(Path(import_module("snakemake").__path__[0], "__main__.py")), *request["args"]]
    tempfile.tempdir = None
    signal.setitimer(signal.ITIMER_REAL, request["timeout_s"])  # nothing of ours handles it: it kills


def serve() -> None:
    """Fork a run for each line of standard input; the run returns from here, this process never does."""
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        if not (child := os.fork()):
            return become(request)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    os._exit(0)


if __name__ == "__main__":
    for module in IMPORTED.split():
        import_module(module)
    gc.freeze()
    serve()
    import_module("snakemake.cli").main()
