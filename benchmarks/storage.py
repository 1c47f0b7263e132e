"""What the storage plugin costs: the DAG over floating files, questions to the ledger, files fetched over a slow link.

    python benchmarks/storage.py [dag|exists|retrieve ...] [--rounds N]

dag: `snakemake --dry-run` over 10,000 files of this disk, with floating files and without any storage: the processor's
    time for the whole command, and in brackets while the DAG is built.
exists: a process with 100,000 replicas in its journal is asked for each file once.
retrieve: 200 files of 10 kB at an ssh host, through a proxy that delays each direction by 10 ms; all at once, and one
    after another. The host is one of the tests' and needs root.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import contextlib
import logging
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import rig

from tests.executor.running import FLOATING

JOBS = 5000
REPLICAS = 100_000
FILES = 200
SIZE_B = 10_000
DELAY_S = 0.01
WORKFLOW = f"""
rule all:
    input: expand("out/{{i}}.txt", i=range({JOBS}))
rule one:
    input: "in/{{i}}.txt"
    output: "out/{{i}}.txt"
    shell: "cp {{input}} {{output}}"
"""


def timed(args: list[str]) -> None:
    """Run Snakemake in this process, and tell the processor's time while it builds the DAG."""
    from snakemake.cli import main as run_snakemake  # first: its modules import each other in a circle
    from snakemake.workflow import Workflow

    build = Workflow._build_dag

    def measured(self: Workflow) -> None:
        started = time.process_time()
        build(self)
        print(f"DAG {time.process_time() - started:.3f}", flush=True)

    Workflow._build_dag = measured  # type: ignore[method-assign]
    atexit.register(lambda: print(f"ALL {time.process_time():.3f}"))
    run_snakemake(args)


def dag(rounds: int) -> None:
    """Compare dry runs."""
    site = {"type": "local", "workdir": "/nowhere"}
    with rig.workflow(WORKFLOW, rig.companion(("bench", site))) as folder:
        for name in ("in", "out"):
            (folder / name).mkdir()
            for i in range(JOBS):
                (folder / name / f"{i}.txt").write_text("x")
            time.sleep(0.05)
        base = [sys.executable, __file__, "--timed", "--dry-run", "--quiet", "all", "--cores", "1"]
        built: dict[str, list[float]] = {"plain": [], "floating": []}

        def once(name: str, *more: str) -> float:
            done = rig.run([*base, *more], folder)
            assert "Nothing to be done" in done.output, done.output[-2000:]
            built[name].append(float(re.findall(r"^DAG ([\d.]+)", done.output, re.MULTILINE)[-1]))
            return float(re.findall(r"^ALL ([\d.]+)", done.output, re.MULTILINE)[-1])

        figures = rig.alternate(
            rounds, {"plain": lambda: once("plain"), "floating": lambda: once("floating", *FLOATING)}
        )
    plain, floating = (rig.median(figures[name]) for name in ("plain", "floating"))
    inside = rig.median(built["floating"]) / rig.median(built["plain"])
    more = f"({floating:.2f} s / {plain:.2f} s; while the DAG is built: {inside:.2f})"
    rig.say(f"dry run over {2 * JOBS} files, floating / without storage", floating / plain, 1.3, more=more)


@contextlib.contextmanager
def provider(companion: str) -> Iterator[object]:
    """Give the storage plugin as default provider, in a folder of its own."""
    from snakemake_storage_plugin_streamflow import StorageProvider, StorageProviderSettings

    before = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="streamflow-bench-") as folder:
        os.chdir(folder)
        Path("streamflow.yml").write_text(companion)
        log = logging.getLogger("bench")
        log.setLevel(logging.ERROR)
        made = StorageProvider(Path("copies"), log, settings=StorageProviderSettings(), is_default=True)
        try:
            yield made
        finally:
            made.engine.stop()
            os.chdir(before)


def exists(rounds: int) -> None:
    """Ask for many files."""
    from snakemake_executor_plugin_streamflow.plan import Replica

    with provider("version: v1.0\ndeployments:\n  far: {type: local, workdir: /nowhere}\n") as made:
        ledger = made.engine.ledger  # type: ignore[attr-defined]
        for n in range(REPLICAS):
            ledger.put(Replica(f"d{n % 100}/f{n}", "far", f"o-{n}", n, n, made_ns=n + 1))
        objects = [made.object(f"streamflow://d{n % 100}/f{n}") for n in range(REPLICAS)]  # type: ignore[attr-defined]

        async def ask() -> float:
            started = time.perf_counter()
            for one in objects:
                assert await one.managed_exists()
            return (time.perf_counter() - started) / REPLICAS * 1e6

        first, *others = [asyncio.run(ask()) for _ in range(rounds)]
    rig.say(f"`exists` with {REPLICAS} replicas", first, 50, unit=" µs", more=f"(again: {rig.median(others):.1f} µs)")


class SlowLink:
    """A port of this machine that leads to a host, `delay_s` away in each direction. In a thread of its own."""

    def __init__(self, host: str, delay_s: float) -> None:
        self._host, self._delay_s = host, delay_s
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    def __enter__(self) -> SlowLink:
        threading.Thread(target=self._run, daemon=True).start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._host, 22)
        for source, target in ((reader, far_writer), (far_reader, writer)):
            queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
            for work in (self._take(source, queue), self._give(queue, target)):
                task = self._loop.create_task(work)
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _take(self, source: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
        data = b"-"
        while data:
            try:
                data = await source.read(1 << 16)
            except OSError:
                data = b""
            queue.put_nowait((self._loop.time() + self._delay_s, data))

    async def _give(self, queue: asyncio.Queue[tuple[float, bytes]], target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while (item := await queue.get())[1]:
                await asyncio.sleep(item[0] - self._loop.time())
                target.write(item[1])
                await target.drain()
        target.close()


def retrieve(rounds: int) -> None:
    """Fetch files from a host that is far away."""
    from snakemake_executor_plugin_streamflow.plan import Replica
    from tests.servers.ssh import SshHosts

    with SshHosts(1) as hosts, SlowLink(hosts.hosts[0], DELAY_S) as link:
        known = Path(hosts.dir, "known_far")
        known.write_text(hosts.known_hosts.read_text().replace(hosts.hosts[0], f"[127.0.0.1]:{link.port}"))
        config = f"nodes: ['127.0.0.1:{link.port}'], username: root, sshKey: {hosts.key}, knownHosts: {known}"
        far = f"{{type: ssh, workdir: /root/w, config: {{{config}, configFile: /dev/null}}}}"
        with provider(f"version: v1.0\ndeployments:\n  far: {far}\n") as made:
            engine = made.engine  # type: ignore[attr-defined]
            site = engine.wait(engine.sites.first("far"))
            for n in range(FILES):
                file = hosts.root(1) / f"root/w/f{n}"
                file.write_bytes(b"%d" % (n % 10) * SIZE_B)
                when = file.stat().st_mtime_ns // 10**9 * 10**9
                engine.ledger.put(Replica(f"f{n}", site.location.filesystem, f"o-{n}", SIZE_B, when, made_ns=when))
            objects = [made.object(f"streamflow://f{n}") for n in range(FILES)]  # type: ignore[attr-defined]

            async def one_by_one() -> None:
                for one in objects:
                    await one.managed_retrieve()

            async def together() -> None:
                await asyncio.gather(*(one.managed_retrieve() for one in objects))

            def once(way: object) -> float:
                started = time.perf_counter()
                asyncio.run(way())  # type: ignore[operator]
                seconds = time.perf_counter() - started
                for one in objects:
                    assert one.local_path().stat().st_size == SIZE_B
                    one.local_path().unlink()
                site.checked.clear()
                return seconds

            figures = rig.alternate(
                rounds, {"together": lambda: once(together), "one by one": lambda: once(one_by_one)}
            )
    apart, at_once = rig.median(figures["one by one"]), rig.median(figures["together"])
    what = f"{FILES} files over {2000 * DELAY_S:.0f} ms, one after another / all at once"
    rig.say(what, apart / at_once, 5, at_least=True, more=f"({apart:.2f} s / {at_once:.2f} s)")


def main() -> None:
    """Run what the command line asks for."""
    if sys.argv[1:2] == ["--timed"]:
        return timed(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["dag", "exists", "retrieve"])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    for what in args.what:
        {"dag": dag, "exists": exists, "retrieve": retrieve}[what](args.rounds)
    return None


if __name__ == "__main__":
    main()
