"""How fast bytes go from one container to another through the connector, compared with `docker exec | docker exec`.

    DOCKER_HOST=unix:///... python benchmarks/docker_stream.py [MIB] [ROUNDS]

Needs the image streamflow-test/busybox:1 (tests/servers/docker.py makes it). Both ways are measured in turn; the ratio
of the best times is printed: 1.0 is as fast as the pipe, more is faster.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time

from snakemake_executor_plugin_streamflow.connect.docker import DockerConnector
from snakemake_executor_plugin_streamflow.model import Deployment, DockerOptions, Location

IMAGE = "streamflow-test/busybox:1"
SEND = ["tar", "-C", "/tmp", "-c", "data"]
RECEIVE = ["sh", "-c", "mkdir -p /tmp/in && tar -C /tmp/in -x"]


async def pump(connector: DockerConnector, source: Location, target: Location) -> float:
    started = time.perf_counter()
    async with await connector.open(source, SEND) as reader, await connector.open(target, RECEIVE) as writer:
        while data := await reader.read():
            await writer.write(data)
        await writer.close_stdin()
        assert await reader.wait() == await writer.wait() == 0
    return time.perf_counter() - started


def pipe(source: Location, target: Location) -> float:
    started = time.perf_counter()
    sender = subprocess.Popen(["docker", "exec", source.host, *SEND], stdout=subprocess.PIPE)
    receiver = subprocess.Popen(["docker", "exec", "-i", target.host, *RECEIVE], stdin=sender.stdout)
    assert receiver.wait() == 0
    return time.perf_counter() - started


async def main(size_mib: int, rounds: int) -> None:
    options = DockerOptions(image=IMAGE, pull="never", replicas=2)
    log = logging.getLogger("docker_stream")
    connector = DockerConnector(Deployment("bench", "docker", options), run=f"b{os.getpid()}", inner=None, log=log)
    await connector.deploy()
    try:
        source, target = await connector.locations(None)
        fill = f"dd if=/dev/urandom of=/tmp/data bs=1M count={size_mib}"
        async with await connector.open(source, ["sh", "-c", fill]) as channel:
            assert await channel.wait() == 0
        times: dict[str, list[float]] = {"pipe": [], "connector": []}
        for _ in range(rounds):
            times["pipe"].append(await asyncio.to_thread(pipe, source, target))
            times["connector"].append(await pump(connector, source, target))
        for name, taken in times.items():
            print(f"{name:10} {' '.join(f'{one:.2f}' for one in taken)} s, best {size_mib / min(taken):.0f} MiB/s")
        print(f"ratio      {min(times['pipe']) / min(times['connector']):.2f}")
    finally:
        await connector.undeploy()
        await connector.close()


if __name__ == "__main__":
    asyncio.run(main(*(int(text) for text in [*sys.argv[1:], *["1024", "3"][len(sys.argv) - 1 :]])))
