"""What breaks: connections, disks, bytes, and lists that lie."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pytest

from ..connect.lifecycle import Lifecycle
from ..errors import SiteError, TransferError, Unreachable
from ..model import Companion, Deployment
from ..move.entry import Entry, Item
from ..move.mover import copy
from ..move.store import Contents, Pieces, Store
from ..move.text import SMALL_B
from ..move.there import There
from ..remote.quote import quote
from .data import carry
from .place import Place

MARK = b"a mark in the content " * 4


class SurvivesFaults:
    """B9, T5 to T7 and T14 of the table of behaviours, and what of D3 a connector shows."""

    def test_every_job_runs_once_while_the_connection_is_cut_again_and_again(self, place: Place) -> None:
        async def check() -> None:
            chance = random.Random(5)
            top = place.fresh()
            await place.text(f"mkdir {top}")
            jobs = [place.job(f"echo ran >>{top}/{number}; exit {number % 3}") for number in range(40)]

            async def cutter() -> None:
                while True:
                    await asyncio.sleep(chance.uniform(0, 0.4))
                    for channel in place.connector.control():
                        if chance.random() < 0.5:
                            channel.cut_soon(chance.randrange(3000))
                        else:
                            await channel.cut()

            async def one(number: int) -> int:
                await asyncio.sleep(chance.uniform(0, 3))
                return (await place.site.run(jobs[number])).code

            cutting = asyncio.create_task(cutter())
            running = [asyncio.create_task(one(number)) for number in range(40)]
            await asyncio.sleep(5)
            cutting.cancel()
            async with asyncio.timeout(60):
                codes = await asyncio.gather(*running)
            assert codes == [number % 3 for number in range(40)]
            counts = (await place.text(f"cd {top}; cat $(ls) | wc -l; ls | wc -l")).split()
            assert counts == ["40", "40"]

        place.do(check())

    def test_a_job_goes_on_while_nobody_is_connected(self, place: Place) -> None:
        async def check() -> None:
            mark = place.fresh()
            job = asyncio.create_task(place.site.run(place.job(f"echo 1 >>{mark}; sleep 2; echo 2 >>{mark}; exit 3")))
            await place.eventually(f"cat {mark} 2>/dev/null", "1")
            for channel in place.connector.control():
                await channel.cut()
            async with asyncio.timeout(30):
                assert (await job).code == 3
            assert await place.text(f"cat {mark}") == "1\n2\n"

        place.do(check())

    def test_cancelled_while_the_connection_is_down(self, place: Place) -> None:
        async def check() -> None:
            mark = place.fresh()
            job = asyncio.create_task(place.site.run(place.job(f"echo $$ >{mark}; sleep 300")))
            await place.eventually(f"wc -l <{mark} 2>/dev/null | tr -d ' '", "1")
            for channel in place.connector.control():
                await channel.cut()
            job.cancel()
            await asyncio.gather(job, return_exceptions=True)
            await place.eventually(f"kill -0 $(cat {mark}) 2>/dev/null && echo lives", "", timeout_s=20)

        place.do(check())

    @pytest.mark.parametrize("size_b", [200_000, 6 << 20])
    def test_a_transfer_that_loses_its_connection_leaves_nothing(self, place: Place, size_b: int) -> None:
        async def check() -> None:
            a, b, c = place.fresh(), place.fresh(), place.fresh()
            place.local(f"{a}/x").write_bytes(os.urandom(size_b))
            await carry(place.here, a, place.there, b)
            up = await place.here.list({a: c})
            down = await place.there.list({b: c})
            for part in (0.1, 0.5, 0.999):
                await place.there.close()
                place.connector.cut_after_b = int(size_b * part)
                with pytest.raises(SiteError):
                    await copy(place.here, up, place.there)
                await place.there.close()
                whole = False
                with contextlib.suppress(SiteError):
                    await copy(place.there, down, place.here)
                    whole = True  # for each connection brought a part of a large file
                    shutil.rmtree(place.local(c))
                assert whole == (size_b > SMALL_B and part > 0.2)
                place.connector.cut_after_b = None
                await place.there.close()
                assert (await place.there.stat([c]))[0].kind == "missing"
                assert not os.path.lexists(place.local(c))
                assert not [name for name in os.listdir(place.here.root) if name.startswith(".sf-")]
                await place.nothing_left()
            await copy(place.there, down, place.here)
            assert place.local(f"{c}/x").read_bytes() == place.local(f"{a}/x").read_bytes()

        try:
            place.do(check())
        finally:
            place.connector.cut_after_b = None

    @pytest.mark.parametrize("size_b", [1000, 200_000, 6 << 20])
    @pytest.mark.parametrize("folder", [False, True])
    def test_a_byte_that_changes_on_its_way_is_noticed(self, place: Place, size_b: int, folder: bool) -> None:
        async def check() -> None:
            a, b, c = place.fresh(), place.fresh(), place.fresh()
            file = place.local(f"{a}/x" if folder else a)
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(b"." * (size_b // 2) + MARK + b"," * (size_b // 2))
            await carry(place.here, a, place.there, b)
            place.connector.flip = MARK
            with pytest.raises(TransferError):
                await carry(place.here, a, place.there, c)
            assert place.connector.flip is None
            assert (await place.there.stat([c]))[0].kind == "missing"
            place.connector.flip = MARK
            with pytest.raises(TransferError):
                await carry(place.there, b, place.here, c)
            assert place.connector.flip is None
            assert not os.path.lexists(place.local(c))
            await place.nothing_left()

        try:
            place.do(check())
        finally:
            place.connector.flip = None

    def test_a_transfer_that_is_cancelled_leaves_nothing(self, place: Place) -> None:
        async def check() -> None:
            a, b = place.fresh(), place.fresh()
            place.local(a).write_bytes(bytes(30 << 20))
            items = await place.here.list({a: b})
            for delay in (0.0, 0.02, 0.1):
                task = asyncio.create_task(copy(place.here, items, place.there))
                await asyncio.sleep(delay)
                if task.cancel():
                    await asyncio.gather(task, return_exceptions=True)
                assert (await place.there.stat([b]))[0].size_b in (0, 30 << 20)
                await place.nothing_left()

        place.do(check())

    def test_a_hostile_list_is_refused(self, place: Place) -> None:
        top, outside = place.fresh(), place.fresh()
        folder = Entry("", "d", mode=0o755)
        lists = [
            [folder, Entry(f"../{outside}", "f", 1)],
            [folder, Entry(f"a/../../{outside}", "f", 1)],
            [folder, Entry(str(place.workdir / outside), "f", 1)],
            [folder, Entry(str(place.here.root / outside), "f", 1)],
            [folder, Entry("l", "l", target=".."), Entry(f"l/{outside}", "f", 1)],
            [folder, Entry("l", "l", target=".."), Entry("l", "d", mode=0o755), Entry(f"l/{outside}", "f", 1)],
            [folder, Entry("l", "l", target=f"../{outside}"), Entry("l", "f", 1)],
            [folder, Entry("c", "c")],
            [folder, Entry("p", "p")],
            [folder, Entry("", "l", target=".."), Entry(outside, "f", 1)],
            [Entry("", "l", target=f"../{outside}"), Entry("", "f", 1)],
            [folder, Entry(".", "f", 1)],
            [folder, Entry("a//b", "f", 1)],
            [folder, Entry("a/", "f", 1)],
        ]

        async def pieces(item: Item) -> Pieces:
            for entry in item.files():
                yield entry, b"x"

        async def check() -> None:
            stores: list[Store] = [place.here, place.there]
            for entries in lists:
                for store in stores:
                    item = Item("evil", top, tuple(entries))
                    with pytest.raises(TransferError):
                        await store.receive([item], Contents(pieces(item), []))
                    found = await store.stat([top, outside])
                    assert [one.kind for one in found] == ["missing", "missing"], entries
            await place.nothing_left()
            assert not [name for name in os.listdir(place.here.root) if name.startswith(".sf-")]

        place.do(check())

    def test_a_full_disk_is_an_error_and_leaves_nothing(self, place: Place) -> None:
        if place.small is None:
            pytest.skip("no small filesystem at the location (`small`)")
        small = place.small

        async def check() -> None:
            a = place.fresh()
            full = There("small", PurePosixPath(small), place.there.open_shell, 4)
            await place.text(f"mkdir -p {quote(small)}/.streamflow/in")
            for size_b in (3 << 20, 12 << 20):
                place.local(a).write_bytes(os.urandom(size_b))
                await place.text(f"head -c 6000000 /dev/zero >{quote(small)}/ballast")
                with pytest.raises(TransferError, match="No space left"):
                    await carry(place.here, a, full, "a")
                # the working directory has room, the target has none
                with pytest.raises(TransferError, match="No space left"):
                    await carry(place.here, a, place.there, f"{small}/b/c")
                assert [one.kind for one in await full.stat(["a", "b/c"])] == ["missing", "missing"]
                assert (await full.ask("ls -A .streamflow/in")).text.strip() == ""
                await place.nothing_left()
                await full.remove(["ballast"])
            place.local(a).write_bytes(b"small")
            await carry(place.here, a, full, "a")
            assert (await full.stat(["a"]))[0].size_b == 5
            await full.remove(["a", "b", ".streamflow"])
            await full.close()

        place.do(check())

    def test_a_job_that_cannot_be_written_is_an_error(self, place: Place) -> None:
        async def check() -> None:
            job = place.job("true")
            await place.text(
                "mkdir -p .streamflow/jobs && mv .streamflow/jobs .streamflow/away && echo x >.streamflow/jobs"
            )
            try:
                with pytest.raises(TransferError):
                    async with asyncio.timeout(20):
                        await place.site.run(job)
            finally:
                await place.text("rm .streamflow/jobs && mv .streamflow/away .streamflow/jobs")
            assert (await place.run("exit 2")).code == 2

        place.do(check())

    def test_a_shell_that_ends_is_replaced(self, place: Place) -> None:
        async def check() -> None:
            for channel in place.connector.data():
                await channel.cut()
            for _ in range(20):
                try:
                    assert (await place.there.ask("echo back")).text == "back\n"
                    break
                except Unreachable:
                    continue
            else:
                pytest.fail("no fresh shell")

        place.do(check())

    def test_taking_down_twice_is_no_error(self, deployments: Mapping[str, Deployment]) -> None:
        log = logging.getLogger("streamflow.conformance")
        lifecycle = Lifecycle(
            Companion(Path("streamflow.yml"), deployments=deployments), f"c{secrets.token_hex(4)}", log
        )
        name, deployment = list(deployments.items())[-1]

        async def check() -> None:
            try:
                connector = await lifecycle.up(name)
                assert await connector.locations(None)
                if not deployment.external:
                    await connector.undeploy()
                    await connector.undeploy()
            finally:
                assert await lifecycle.down() == []

        asyncio.run(check())
