"""Run by a location's Python: a process that has imported Snakemake, and forks for each job; or one job, afresh.

`warm.py fresh ARGUMENTS` runs one nested Snakemake. `warm.py NAME LOCK` serves `launch.py` through the socket NAME in
the folder of this file, until nobody has asked for a while. Each job is a process in a session of its own, with the
environment, working directory, streams and mask of who asked; it is ended when that one goes. Imports Snakemake and the
standard library only.
"""

import atexit
import contextlib
import fcntl
import functools
import gc
import logging
import marshal
import os
import pathlib
import selectors
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))
IDLE_S = 60.0
GRACE_S = 2.0

# What says nothing of the job would push what does out of the last lines that a user gets to see.
_HOLLOW = (
    *("Building DAG", "Using shell", "Select jobs", "Execute ", "Storing output in storage", "Elapsed time"),
    *("Shutting down, this", "Exiting because a job", "Complete log", "At least one job did not complete"),
)

# What Snakemake imports only when it runs a job.
_LATE = (
    *("snakemake.executors.local", "snakemake.scheduling.job_scheduler", "snakemake.script", "snakemake.storage"),
    *("smart_open", "nbformat.v4", "graphlib"),
)


def tell(record: logging.LogRecord) -> bool:
    """Say which rule failed, which Snakemake does not with the quietness that hides all else; let other errors pass."""
    rule = getattr(record, "rule_name", None)
    if rule is not None and record.levelno >= logging.ERROR:
        print(f"Error in rule {rule}.", file=sys.stderr, flush=True)
    return not record.getMessage().removeprefix("WorkflowError:\n").startswith(_HOLLOW)


def one_at_a_time(make: Callable[..., Any]) -> Callable[..., Any]:
    """Have jobs that begin together make environments one after another: who comes second finds them made."""

    @functools.wraps(make)
    def alone(*args: Any, **kwargs: Any) -> Any:
        with open(f"{HERE}/environments.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return make(*args, **kwargs)

    return alone


def find_moved(here: str, away: str) -> None:
    """Have Snakemake find sources that a Snakefile names by paths that are others here: `../x`, `/home/me/x`.

    Args:
        here: the working directory. What was outside of it lies in `.streamflow/abs`, under its whole path.
        away: what `here` stands for, where the Snakefile is.
    """
    from snakemake.sourcecache import LocalSourceFile

    outside = f"{here}/.streamflow/abs"
    make = LocalSourceFile.__init__

    def init(self: Any, path: Any) -> None:
        given = os.path.normpath(os.path.abspath(path)) if isinstance(path, str | os.PathLike) else ""
        if given and not os.path.exists(given):
            there = given.removeprefix(outside)
            if there == given:
                there = os.path.normpath(os.path.join(away, os.path.relpath(given, here)))
            inside = os.path.join(here, os.path.relpath(there, away))
            path = next(filter(os.path.exists, (inside, outside + there, outside + given)), path)
        make(self, path)

    LocalSourceFile.__init__ = init


def snakemake(arguments: list[str]) -> None:
    """Run one nested Snakemake; ends with SystemExit."""
    from snakemake import cli, dag, workflow

    for name in ("create_conda_envs", "pull_container_imgs"):
        setattr(dag.DAG, name, one_at_a_time(getattr(dag.DAG, name)))
    if cache := os.environ.pop("STREAMFLOW_SOURCE_CACHE", None):
        workflow.Workflow.source_cache_path = property(lambda self: pathlib.Path(cache))  # else it is a fresh folder
    if (here := os.environ.pop("STREAMFLOW_HERE", None)) and (away := os.environ.pop("STREAMFLOW_AWAY", None)):
        find_moved(here, away)
    logging.getLogger("snakemake.logging").addFilter(tell)
    sys.argv = ["snakemake", *arguments]
    sys.path[0] = os.getcwd()  # as `python -m snakemake` has it
    cli.main(arguments)


class Server:
    """Forks a process for each job, and tells who asked how it ended."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._jobs: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._wake, self._ended = socket.socketpair()
        self._ended.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._ended.fileno())
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def serve(self) -> None:
        """Serve until there is no job, and has been none for a while."""
        while True:
            events = self._selector.select(None if self._jobs else IDLE_S)
            if not events and not self._jobs:
                return
            for key, _ in events:
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._wake:
                    self._wake.recv(4096)
                    self._reap()
                else:
                    self._end(key.data)

    def _accept(self) -> None:
        channel, _ = self._listener.accept()
        channel.settimeout(10)
        files: list[int] = []
        try:
            head, files, _, _ = socket.recv_fds(channel, 8, 3)
            size, data = int.from_bytes(head, "big"), b""
            while len(data) < size:
                if not (piece := channel.recv(size - len(data))):
                    raise OSError("cut off")
                data += piece
            wish = marshal.loads(data)
            channel.sendall(b"y")
            gc.freeze()
            job = os.fork()
            if not job:
                self._become(wish, files)
        except (OSError, EOFError, TypeError, ValueError):
            channel.close()
        else:
            self._jobs[job] = channel
            self._selector.register(channel, selectors.EVENT_READ, job)
        finally:
            for file in files:
                os.close(file)

    def _become(self, wish: dict[str, Any], files: list[int]) -> None:
        """In the new process: be what a fresh one would have been. Does not return."""
        code = 1
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGPIPE):
                signal.signal(number, signal.SIG_IGN if number == signal.SIGPIPE else signal.SIG_DFL)
            for stream, file in enumerate(files):
                os.dup2(file, stream)
            os.closerange(3, 1024)
            os.chdir(wish["cwd"])
            os.umask(wish["umask"])
            os.environ.clear()
            os.environ.update(wish["env"])
            tempfile.tempdir = None
            snakemake(wish["argv"])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(BaseException):
                atexit._run_exitfuncs()
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        while True:
            try:
                job, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not job:
                return
            channel = self._jobs.pop(job, None)
            if channel is not None:
                code = os.waitstatus_to_exitcode(status)
                with contextlib.suppress(OSError):
                    channel.sendall(str(code if code >= 0 else 128 - code).encode())
                self._forget(channel)

    def _end(self, job: int) -> None:
        """Who asked has gone: end the job's processes."""
        if (channel := self._jobs.get(job)) is None:
            return
        with contextlib.suppress(OSError):
            if channel.recv(1):
                return
        self._selector.unregister(channel)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job, signal.SIGTERM)
        if not os.fork():  # a helper waits, so that nobody else has to
            signal.set_wakeup_fd(-1)
            signal.sigtimedwait([], GRACE_S)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job, signal.SIGKILL)
            os._exit(0)

    def _forget(self, channel: socket.socket) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(channel)
        channel.close()


def serve(name: str) -> None:
    """Import all that Snakemake needs, then serve."""
    from snakemake import cli

    make = cli.get_argument_parser
    sys.argv = ["snakemake"]  # its name in messages
    parser = make()  # loads the plugins; is the same for all jobs: their variables that it looks at are the same
    cli.get_argument_parser = lambda profiles=None: make(profiles) if profiles else parser
    for module in _LATE:
        with contextlib.suppress(ImportError):
            __import__(module)
    os.chdir(HERE)
    beside = f"{name}.{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(beside)
        listener.listen(64)
        os.rename(beside, name)
        pathlib.Path(f"{name}.pid").write_text(f"{os.getpid()}\n")
        mine = os.stat(name).st_ino
        try:
            Server(listener).serve()
        finally:
            with contextlib.suppress(OSError):
                if os.stat(name).st_ino == mine:
                    os.unlink(name)


if __name__ == "__main__":
    if sys.argv[1] == "fresh":
        snakemake(sys.argv[2:])
    else:
        serve(sys.argv[1])
