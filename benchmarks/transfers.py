"""How fast files travel through the package's own stores, compared with `tar` and pipes over the same path.

    python benchmarks/transfers.py [ssh|docker ...] [--mib N] [--files N] [--rounds N]

All files lie in memory (tmpfs): what a disk takes to make 10,000 files differs from run to run by more than all else.
Each way: one large file, and a tree of small files. ssh: controller to host, host to controller, host to host; docker:
container to container. Ours are verified by digests at both ends; the pipes verify nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import shlex
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import rig

from snakemake_executor_plugin_streamflow.connect.base import Channel, Connector
from snakemake_executor_plugin_streamflow.model import Location
from snakemake_executor_plugin_streamflow.move.here import Here
from snakemake_executor_plugin_streamflow.move.mover import copy
from snakemake_executor_plugin_streamflow.move.store import Store
from snakemake_executor_plugin_streamflow.move.there import There

WORKDIR = PurePosixPath("/tmp/bench")
TREE_FILE_B = 4096


def fill(mib: int, files: int) -> str:
    """Shell text that makes `big`, and `tree` with folders of 100 small files."""
    return f"""mkdir -p {WORKDIR}/.streamflow/in && cd {WORKDIR} && head -c {mib << 20} /dev/urandom >big &&
mkdir -p tree && cd tree && i=0 && while [ $i -lt {files} ]; do
[ $((i % 100)) != 0 ] || mkdir -p $((i / 100)); head -c {TREE_FILE_B} /dev/urandom >$((i / 100))/$i
i=$((i + 1)); done"""


def store(connector: Connector, where: Location) -> There:
    """Return the files of a location, as the engine has them."""

    async def open_shell() -> Channel:
        return await connector.open(where, ["sh"])

    return There(where.name, WORKDIR, open_shell, 4)


async def at(connector: Connector, where: Location, script: str) -> None:
    """Run shell text at a location."""
    async with await connector.open(where, ["sh", "-c", script]) as channel:
        output = b""
        while data := await channel.read():
            output += data
        assert await channel.wait() == 0, (output, channel.errors)


@contextmanager
def watched() -> Iterator[list[float]]:
    """Give a list that then holds by how many MiB the memory of this process rose at most."""
    page, stop, peak = resource.getpagesize(), threading.Event(), 0.0
    statm = Path("/proc/self/statm")
    before = int(statm.read_text().split()[1])

    def look() -> None:
        nonlocal peak
        while not stop.wait(0.02):
            peak = max(peak, (int(statm.read_text().split()[1]) - before) * page / 2**20)

    thread = threading.Thread(target=look)
    thread.start()
    grown: list[float] = []
    try:
        yield grown
    finally:
        stop.set()
        thread.join()
        grown.append(peak)


def pipe(*commands: str) -> float:
    """Return the seconds that commands joined by pipes take."""
    started = time.perf_counter()
    subprocess.run(["bash", "-c", "set -o pipefail; " + " | ".join(commands)], check=True)
    return time.perf_counter() - started


async def compare(
    what: str, item: str, source: Store, target: Store, pipes: list[str], clean: Callable[[], object], rounds: int
) -> None:
    """Measure both ways in turn and print the ratio of the best times, and the memory."""
    times: dict[str, list[float]] = {"pipe": [], "ours": []}
    grown: list[float] = []
    for number in range(rounds):
        for way in ("pipe", "ours") if number % 2 == 0 else ("ours", "pipe"):
            await clean()  # type: ignore[misc]
            await asyncio.to_thread(os.sync)
            if way == "pipe":
                times[way].append(await asyncio.to_thread(pipe, *pipes))
                continue
            with watched() as rose:
                started = time.perf_counter()
                await copy(source, await source.list({item: f"in/{item}"}), target)
                times[way].append(time.perf_counter() - started)
            grown += rose
    ratio = min(times["pipe"]) / min(times["ours"])
    taken = "; ".join(f"{way} {' '.join(f'{one:.2f}' for one in ones)} s" for way, ones in times.items())
    rig.say(f"{what}, {item}: pipe / ours", ratio, 0.9, at_least=True, more=f"({taken})")
    rig.say(f"{what}, {item}: memory", max(grown), 50, unit=" MiB")


def take(item: str) -> str:
    """A `tar` that reads an item at a location."""
    return f"tar -C {WORKDIR} -cf - {item}"


GIVE = f"mkdir -p {WORKDIR}/in && tar -C {WORKDIR}/in -xpf -"


async def between(
    kind: str, options: Mapping[str, object], items: tuple[str, ...], mib: int, files: int, rounds: int
) -> None:
    """Measure all ways of one kind of location."""
    connector = rig.connector(kind, options)
    await connector.deploy()
    try:
        one, two = await connector.locations(None)
        a, b = store(connector, one), store(connector, two)
        await at(connector, one, fill(mib, files))
        await at(connector, two, f"mkdir -p {WORKDIR}/.streamflow/in")

        async def clean() -> None:
            for where in (one, two):
                await at(connector, where, f"rm -rf {WORKDIR}/in; sync")

        def there(number: int, command: str) -> str:
            if kind == "docker":
                place = (one, two)[number]
                return f"docker -H {options['docker_host']} exec -i {place.host} sh -c {shlex.quote(command)}"
            host = options["nodes"][number]  # type: ignore[index]
            login = f"-q -i {options['ssh_key']} -o UserKnownHostsFile={options['known_hosts']} root@{host}"
            return f"ssh {login} {shlex.quote(command)}"

        for item in items:
            pipes = [there(0, take(item)) + " </dev/null", there(1, GIVE)]
            await compare(f"{kind} -> {kind}", item, a, b, pipes, clean, rounds)
        if kind == "ssh":
            with tempfile.TemporaryDirectory(prefix="streamflow-bench-", dir="/dev/shm") as folder:
                here = Here("controller", Path(folder))
                for item in items:
                    await copy(a, await a.list({item: item}), here)
                    pipes = [f"tar -C {folder} -cf - {item}", there(1, GIVE)]
                    await compare("controller -> ssh", item, here, b, pipes, clean, rounds)

                async def clean_here() -> None:
                    await asyncio.to_thread(subprocess.run, ["rm", "-rf", f"{folder}/in"], check=True)

                for item in items:
                    pipes = [
                        there(0, take(item)) + " </dev/null",
                        f"(mkdir -p {folder}/in && tar -C {folder}/in -xpf -)",
                    ]
                    await compare("ssh -> controller", item, a, here, pipes, clean_here, rounds)
        await a.close()
        await b.close()
    finally:
        await connector.undeploy()
        await connector.close()


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("where", nargs="*", default=["ssh", "docker"])
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--items", nargs="*", default=["big", "tree"])
    args = parser.parse_args()
    for where in args.where:
        with rig.ssh_options() if where == "ssh" else rig.docker_options() as options:
            if where == "docker":
                options |= {"tmpfs": ("/tmp:exec",)}
            asyncio.run(between(where, options, tuple(args.items), args.mib, args.files, args.rounds))


if __name__ == "__main__":
    main()
