"""Moving files: contents, kinds, names, targets, cost."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ..errors import TransferError
from ..move.entry import Item
from ..move.listing import of_item
from ..move.mover import Mover, copy, fan_out
from ..move.store import Store
from ..remote.quote import decode
from .odd import NAMES
from .place import Place
from .watch import Watch

Tree = dict[str, tuple[Any, ...]]


def tree(path: Path) -> Tree:
    """What a file or directory of this machine is: {path below it: (kind, mode, mtime in s, content)}."""
    found: Tree = {}

    def look(name: str) -> None:
        one = f"{path}/{name}" if name else str(path)
        info = os.lstat(one)
        mode, when = stat.S_IMODE(info.st_mode), int(info.st_mtime)
        if stat.S_ISLNK(info.st_mode):
            found[name] = ("l", os.readlink(one))
        elif stat.S_ISDIR(info.st_mode):
            found[name] = ("d", mode)
            for child in os.listdir(one):
                look(f"{name}/{child}" if name else child)
        else:
            found[name] = ("f", mode, when, Path(one).read_bytes())

    look("")
    return found


def run_here(place: Place, script: str) -> int:
    """Run shell text in the directory of this machine."""
    return subprocess.run(["sh", "-c", script], cwd=place.here.root, check=False).returncode


async def carry(source: Store, name: str, target: Store, other: str) -> None:
    """Copy one file or directory."""
    await copy(source, await source.list({name: other}), target)


class MovesFiles:
    """T1 to T5 and T8 to T13 of the table of behaviours."""

    large_b = 256 << 20
    """Size of the large file."""

    @pytest.mark.parametrize("size_b", [0, 1, 511, 512, 513, 65536, (4 << 20) - 1, (4 << 20) + 1, 9 << 20])
    @pytest.mark.parametrize("mode", [0o644, 0o755, 0o600, 0o444])
    def test_a_file_goes_and_comes_back_equal(self, place: Place, size_b: int, mode: int) -> None:
        if size_b not in (0, 513, 9 << 20) and mode != 0o644:
            pytest.skip("modes are tried with three sizes")

        async def check() -> None:
            a, b, c, d = (place.fresh() for _ in range(4))
            one = place.local(a)
            one.write_bytes(os.urandom(size_b))
            one.chmod(mode)
            os.utime(one, (1_500_000_000, 1_500_000_001))
            await carry(place.here, a, place.there, b)
            (found,) = await place.there.stat([b])
            assert (found.kind, found.size_b, found.mode) == ("file", size_b, mode)
            assert found.mtime_ns == 1_500_000_001 * 10**9
            await carry(place.there, b, place.there, f"sub/{c}")
            await carry(place.there, f"sub/{c}", place.here, d)
            assert tree(place.local(d)) == tree(one)
            await place.nothing_left()

        place.do(check())

    def test_between_two_locations(self, place: Place) -> None:
        if len(place.sites) < 2:
            pytest.skip("the deployment has one location")

        async def check() -> None:
            a, b, c, d = (place.fresh() for _ in range(4))
            place.local(f"{a}/deep/er").mkdir(parents=True)
            place.local(f"{a}/deep/x").write_bytes(os.urandom(5 << 20))
            place.local(f"{a}/y").write_bytes(b"y")
            other = place.sites[1].shells
            await carry(place.here, a, place.there, b)
            await carry(place.there, b, other, c)
            await carry(other, c, place.here, d)
            assert tree(place.local(a)) == tree(place.local(d))

        place.do(check())

    def test_a_directory_keeps_its_shape(self, place: Place) -> None:
        async def check() -> None:
            a, b, c = place.fresh(), place.fresh(), place.fresh()
            top = place.local(a)
            (top / "empty/nested/deep").mkdir(parents=True)
            (top / "file").write_bytes(b"content")
            (top / "nothing").write_bytes(b"")
            (top / "run").write_bytes(b"#!/bin/sh\n")
            (top / "run").chmod(0o755)
            os.link(top / "file", top / "hard")
            (top / "to-file").symlink_to("file")
            (top / "to-directory").symlink_to("empty/nested")
            (top / "empty/up").symlink_to("../file")
            (top / "dangling").symlink_to("no/such")
            (top / "absolute").symlink_to(top / "file")
            outside = place.local(f"{a}-outside")
            outside.write_bytes(b"outside")
            (top / "to-outside").symlink_to(outside)
            await carry(place.here, a, place.there, b)
            assert (await place.text(f"cat {b}/to-file {b}/absolute {b}/to-outside")) == "contentcontentoutside"
            (there,), (item,) = await place.there.listings([b]), await place.here.list({a: b})
            assert there == of_item(item)
            await carry(place.there, b, place.here, c)
            assert await place.here.listings([c]) == [there]
            wanted = tree(top)
            wanted["absolute"] = ("l", "file")
            wanted["to-outside"] = ("f", 0o644, int(outside.stat().st_mtime), b"outside")
            assert tree(place.local(c)) == wanted
            await place.nothing_left()

        place.do(check())

    def test_links_at_the_location_follow_the_policy(self, place: Place) -> None:
        async def check() -> None:
            a, b = place.fresh(), place.fresh()
            await place.text(
                f"""mkdir -p {a}/d {a}-out/dir; echo in >{a}/d/f; echo out >{a}-out/f
cd {a}; ln -s d/f rel; ln -s "$PWD/d" abs; ln -s no/such dangling; ln -s ../{a}-out/f file; ln d/f hard
ln -s "two
lines" broken; cd ..; ln -s {a} {a}-link; ln -s {a}/d/f {a}-one"""
            )
            await carry(place.there, f"{a}-link", place.here, b)
            found = {name: what for name, what in tree(place.local(b)).items()}
            assert found["rel"] == ("l", "d/f")
            assert found["abs"] == ("l", "d")
            assert found["dangling"] == ("l", "no/such")
            assert found["broken"] == ("l", "two\nlines")
            assert found["file"][3] == b"out\n"
            assert found["hard"][3] == b"in\n"
            await carry(place.there, f"{a}-one", place.here, f"{b}-one")
            assert tree(place.local(f"{b}-one"))[""][3] == b"in\n"
            await place.text(f"ln -s ../{a}-out/dir {a}/outdir")
            with pytest.raises(TransferError, match="outdir"):
                await place.there.list({a: b})
            place.local(f"{b}-d").mkdir()
            place.local(f"{b}-d/outdir").symlink_to("/usr")
            with pytest.raises(TransferError, match="outdir"):
                await place.here.list({f"{b}-d": a})

        place.do(check())

    def test_what_is_no_file_does_not_travel(self, place: Place) -> None:
        async def check() -> None:
            a, b = place.fresh(), place.fresh()
            await place.text(f"mkdir {a}; mkfifo {a}/pipe")
            with pytest.raises(TransferError, match="pipe"):
                await place.there.list({a: b})
            with pytest.raises(TransferError):
                await place.there.list({f"{a}/pipe": b})
            with pytest.raises(TransferError):
                await place.there.list({"/dev/null": b})
            place.local(b).mkdir()
            os.mkfifo(place.local(b) / "pipe")
            with pytest.raises(TransferError, match="pipe"):
                await place.here.list({b: a})

        place.do(check())

    def test_names_of_any_bytes(self, place: Place) -> None:
        async def check() -> None:
            a, b, c, d = (place.fresh() for _ in range(4))
            names = [decode(name) for name in NAMES]
            for name in names:
                place.local(f"{a}/{name}").write_text(name, errors="surrogateescape")
                place.local(f"{a}/dirs/{name[:200]}/{name}").write_bytes(b"")
            await carry(place.here, a, place.there, b)
            await carry(place.there, b, place.here, c)
            assert tree(place.local(a)) == tree(place.local(c))
            # each as an item of its own
            for source, target, top, to in ((place.here, place.there, a, d), (place.there, place.here, b, d)):
                await copy(source, await source.list({f"{top}/{n}": f"{to}/{n}" for n in names}), target)
            assert {k: v for k, v in tree(place.local(d)).items() if k} == {
                k: v for k, v in tree(place.local(a)).items() if k and not k.startswith("dirs")
            }
            found = await place.there.stat([f"{d}/{name}" for name in names])
            assert [one.kind for one in found] == ["file"] * len(names)
            assert [one.size_b for one in found] == [len(name) for name in NAMES]
            await place.there.remove([f"{d}/{name}" for name in names])
            assert await place.text(f"ls -A {d}") == ""

        place.do(check())

    def test_onto_what_is_there_already(self, place: Place) -> None:
        async def check() -> None:
            file, folder, top = place.fresh(), place.fresh(), place.fresh()
            place.local(file).write_bytes(b"new")
            place.local(f"{folder}/new").write_bytes(b"new")
            make = f"""mkdir -p {top}; cd {top}; echo old >file; mkdir -p folder/old; echo aim >aim
ln -s aim link; mkdir aims; ln -s aims links; touch aims/x"""
            await place.text(make)
            assert run_here(place, make.replace(top, f"{top}-here")) == 0
            tops: list[tuple[Store, str]] = [(place.there, top), (place.here, f"{top}-here")]
            for store, where in tops:
                for name in ("file", "folder", "link", "links", "no/such/parent"):
                    await carry(place.here, file, store, f"{where}/{name}")
            wanted = {"aim": b"aim\n", "no/such/parent": b"new"}
            wanted |= {name: b"new" for name in ("file", "folder", "link", "links")}
            back = place.fresh()
            await carry(place.there, top, place.here, back)
            for one in (f"{top}-here", back):
                found = tree(place.local(one))
                assert {k: v[3] for k, v in found.items() if v[0] == "f"} == wanted | {"aims/x": b""}
                assert not [k for k, v in found.items() if v[0] == "l"]
            for store, where in tops:
                for name in ("file", "folder", "no/such/parent", "other/parent"):
                    await carry(place.here, folder, store, f"{where}/{name}")
            await carry(place.there, top, place.here, back)
            for one in (f"{top}-here", back):
                found = tree(place.local(one))
                for name in ("file", "folder", "no/such/parent", "other/parent"):
                    assert found[f"{name}/new"][3] == b"new"
            await place.nothing_left()

        place.do(check())

    def test_what_cannot_be_read_or_written_is_an_error(self, place: Place) -> None:
        async def check() -> None:
            a, b = place.fresh(), place.fresh()
            place.local(a).write_bytes(b"x")
            for store in (place.there, place.here):
                with pytest.raises(TransferError):
                    await store.list({"no/such": b})
            await place.text(f"echo file >{b}")
            with pytest.raises(TransferError):
                await carry(place.here, a, place.there, f"{b}/below/a-file")
            place.local(b).write_bytes(b"file\n")
            with pytest.raises(TransferError):
                await carry(place.here, a, place.here, f"{b}/below/a-file")
            items = await place.here.list({a: f"{b}-gone"})
            place.local(a).unlink()
            with pytest.raises(TransferError):
                await copy(place.here, items, place.there)
            assert (await place.there.stat([f"{b}-gone"]))[0].kind == "missing"
            assert await place.text(f"cat {b}") == "file\n"
            await place.text(f"echo 1 >{b}-x")
            items = await place.there.list({f"{b}-x": f"{b}-y"})
            await place.text(f"rm {b}-x")
            with pytest.raises(TransferError):
                await copy(place.there, items, place.here)
            assert not os.path.lexists(place.local(f"{b}-y"))
            assert not [name for name in os.listdir(place.here.root) if name.startswith(".sf-")]
            await place.nothing_left()

        place.do(check())

    @pytest.mark.parametrize("size_b", [1000, 6 << 20])
    def test_a_source_that_changes_its_size_is_noticed(self, place: Place, size_b: int) -> None:
        async def check() -> None:
            a, b = place.fresh(), place.fresh()
            for change in (f"head -c {size_b // 2} /dev/zero >{a}", f"echo more >>{a}"):
                await place.text(f"head -c {size_b} /dev/zero >{a}")
                items = await place.there.list({a: b})
                await place.text(change)
                with pytest.raises(TransferError):
                    await copy(place.there, items, place.here)
                assert not os.path.lexists(place.local(b))
                assert (await place.run("echo fine")).stdout == b"fine\n"

        place.do(check())

    def test_many_paths_are_looked_at_together(self, place: Place) -> None:
        async def check() -> None:
            top = place.fresh()
            await place.text(f"mkdir -p {top}/d; cd {top}; echo x >f; ln -s f l; ln -s no n; mkfifo p; chmod 711 f")
            names = ["f", "no", "d", "l", "n", "p", "f/x"] * 100
            before = place.connector.writes
            found = await place.there.stat([f"{top}/{name}" for name in names])
            assert place.connector.writes - before <= 4
            assert [one.kind for one in found] == [
                "file",
                "missing",
                "directory",
                "file",
                "missing",
                "other",
                "missing",
            ] * 100
            assert {(one.size_b, one.mode) for one in found if one.kind == "file"} == {(2, 0o711)}

        place.do(check())

    def test_changing_a_copy_leaves_its_source_alone(self, place: Place) -> None:
        async def check() -> None:
            a, b, c = place.fresh(), place.fresh(), place.fresh()
            place.local(a).write_bytes(b"source")
            await carry(place.here, a, place.there, b)
            await carry(place.there, b, place.there, c)
            await place.text(f"echo more >>{c}")
            assert await place.text(f"cat {b}") == "source"
            await place.text(f"echo more >>{b}")
            assert place.local(a).read_bytes() == b"source"

        place.do(check())

    def test_two_who_want_one_file_cause_one_transfer(self, place: Place) -> None:
        async def check() -> None:
            a, b = place.fresh(), place.fresh()
            place.local(a).write_bytes(os.urandom(9 << 20))
            copies: list[Sequence[Item]] = []
            items = await place.here.list({a: b})
            written = place.connector.written_b
            async with asyncio.TaskGroup() as group:
                mover = Mover(group.create_task, lambda source, target, items, seconds, route: copies.append(items))
                await asyncio.gather(*(mover.move(place.here, place.there, items) for _ in range(5)))
            assert len(copies) == 1
            assert place.connector.written_b - written < 10 << 20
            assert (await place.there.stat([b]))[0].size_b == 9 << 20

        place.do(check())

    def test_one_source_for_several_targets_is_read_once(self, place: Place) -> None:
        async def check() -> None:
            a, b = place.fresh(), place.fresh()
            await place.text(f"mkdir {a}; head -c 6000000 /dev/urandom >{a}/x; head -c 3000000 /dev/urandom >{a}/y")
            items = await place.there.list({a: b})
            targets = [type(place.here)(name, place.local(name)) for name in ("one", "two")]
            read = place.connector.read_b
            assert (await fan_out(place.there, items, targets))[1] == [None, None]
            assert place.connector.read_b - read < 10_000_000
            assert tree(place.local("one") / b) == tree(place.local("two") / b)
            up = await targets[0].list({b: f"{b}-up"})
            assert not any((await fan_out(targets[0], up, [site.shells for site in place.sites]))[1])
            for site in place.sites:
                assert sum(found.size_b for found in await site.shells.stat([f"{b}-up/x", f"{b}-up/y"])) == 9_000_000

        place.do(check())

    def test_500_small_files_are_a_handful_of_round_trips(self, place: Place) -> None:
        async def check() -> None:
            a, b, c = place.fresh(), place.fresh(), place.fresh()
            names = [f"s{number}/f" for number in range(500)]
            for name in names:
                place.local(f"{a}/{name}").write_bytes(name.encode())
            watched = place.connector
            opens, writes = len(watched.channels), watched.writes
            items = await place.here.list({f"{a}/{name}": f"{b}/{name}" for name in names})
            async with asyncio.TaskGroup() as group:
                mover = Mover(group.create_task, lambda *_: None)
                await mover.move(place.here, place.there, items)
            assert len(watched.channels) - opens <= 4
            assert watched.writes - writes <= 20
            opens, writes = len(watched.channels), watched.writes
            items = await place.there.list({f"{b}/{name}": f"{c}/{name}" for name in names})
            assert len(watched.channels) - opens <= 4
            assert watched.writes - writes <= 20, "listing is a round trip for each file"
            await copy(place.there, items, place.here)
            assert len(watched.channels) - opens <= 4
            assert watched.writes - writes <= 20
            assert tree(place.local(a)) == tree(place.local(c))

        place.do(check())

    def test_a_folder_has_more_names_than_fit_in_one_command(self, place: Place) -> None:
        async def check() -> None:
            a, b, c = place.fresh(), place.fresh(), place.fresh()
            for number in range(600):
                place.local(f"{a}/{number:080}").write_bytes(str(number).encode())
            await carry(place.here, a, place.there, b)
            await carry(place.there, b, place.here, c)
            assert tree(place.local(a)) == tree(place.local(c))

        place.do(check())

    def test_a_large_file_needs_little_memory_and_never_holds_the_loop(self, place: Place) -> None:
        async def check() -> None:
            a, b, c = place.fresh(), place.fresh(), place.fresh()
            block = os.urandom(1 << 20)
            with place.local(a).open("wb") as file:
                for _ in range(self.large_b >> 20):
                    file.write(block)
            watch = Watch()
            async with watch:
                await carry(place.here, a, place.there, b)
                await carry(place.there, b, place.here, c)
            assert place.local(a).stat().st_size == place.local(c).stat().st_size
            place.local(a).unlink()
            place.local(c).unlink()
            await place.there.remove([b])
            assert watch.growth_b < 50 << 20
            assert watch.held_s < 0.2

        place.do(check())
