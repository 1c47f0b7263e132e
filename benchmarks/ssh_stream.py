"""Compare the ssh connector's streams with `ssh` and pipes, on hosts made for it. Needs root.

python benchmarks/ssh_stream.py [MiB] [ROUNDS]
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from snakemake_executor_plugin_streamflow.connect.ssh import SshConnector
from snakemake_executor_plugin_streamflow.model import Deployment, Location, SshOptions
from tests.servers.ssh import SshHosts

BLOCK_B = 1024 * 1024


class Quiet:
    """A log that nobody reads."""

    def info(self, message: str) -> None: ...
    def debug(self, message: str) -> None: ...
    def warning(self, message: str) -> None: ...


async def down(connector: SshConnector, where: Location, size_b: int) -> None:
    """Read `size_b` bytes from a host."""
    async with await connector.open(where, ["head", "-c", str(size_b), "/dev/zero"]) as channel:
        got = 0
        while data := await channel.read():
            got += len(data)
        assert (got, await channel.wait()) == (size_b, 0)


async def up(connector: SshConnector, where: Location, size_b: int) -> None:
    """Write `size_b` bytes to a host."""
    async with await connector.open(where, ["sh", "-c", "cat > /dev/null"]) as channel:
        block = bytes(BLOCK_B)
        for _ in range(size_b // BLOCK_B):
            await channel.write(block)
        await channel.close_stdin()
        assert await channel.wait() == 0


def pipe(hosts: SshHosts, size_b: int, *, to_host: bool) -> float:
    """Return the seconds that `ssh` and `cat` take."""
    ssh = f"ssh -q -i {hosts.key} -o UserKnownHostsFile={hosts.known_hosts} root@{hosts.hosts[0]}"
    zeros = f"head -c {size_b} /dev/zero"
    command = f"{zeros} | {ssh} 'cat > /dev/null'" if to_host else f"{ssh} {zeros} | cat > /dev/null"
    start = time.monotonic()
    subprocess.run(command, shell=True, check=True)
    return time.monotonic() - start


async def main(mib: int, rounds: int, hosts: SshHosts) -> None:
    """Measure, and print one line per direction."""
    size_b = mib * BLOCK_B
    options = SshOptions(
        nodes=(hosts.hosts[0],), username="root", ssh_key=str(hosts.key), known_hosts=str(hosts.known_hosts)
    )
    connector = SshConnector(Deployment("lab", "ssh", options), run="bench", inner=None, log=Quiet())
    await connector.deploy()
    where = (await connector.locations(None))[0]
    for name, move in (("up", up), ("down", down)):
        ours, theirs = [], []
        for _ in range(rounds):
            start = time.monotonic()
            await move(connector, where, size_b)
            ours.append(time.monotonic() - start)
            theirs.append(await asyncio.to_thread(pipe, hosts, size_b, to_host=name == "up"))
        a, b = min(ours), min(theirs)
        print(f"{name:5} {mib} MiB: {a:.2f} s ({mib / a:.0f} MiB/s); ssh and pipe {b:.2f} s; ratio {b / a:.2f}")
    start = time.monotonic()
    for _ in range(100):
        async with await connector.open(where, ["true"]) as channel:
            assert await channel.wait() == 0
    print(f"a process, start to end: {(time.monotonic() - start) * 10:.2f} ms")
    async with await connector.open(where, ["cat"]) as channel:
        start = time.monotonic()
        for _ in range(500):
            await channel.write(b"x\n")
            assert await channel.read() == b"x\n"
        print(f"a small message, there and back: {(time.monotonic() - start) * 2:.2f} ms")
    print(f"memory at most: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")
    await connector.close()


if __name__ == "__main__":
    mib, rounds = [*map(int, sys.argv[1:]), *(1024, 3)[len(sys.argv) - 1 :]]
    with SshHosts(1) as made:
        asyncio.run(main(mib, rounds, made))
