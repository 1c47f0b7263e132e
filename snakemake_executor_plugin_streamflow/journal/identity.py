"""The stable name of a workflow, by which sites know its folders: it moves along with the workflow's directory."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

_FILE = Path(".snakemake", "streamflow", "key")


@dataclass(frozen=True, slots=True)
class _Identity:
    """A key, and the directory that used it last."""

    key: str
    host: str
    path: str
    inode: int


def workflow_key(here: Path, *, keep: bool = False) -> str:
    """Return the key of the workflow in a directory of this machine.

    A directory that was moved keeps its key; a copy, whose original is still there, has one of its own: two must not
    write into the same folder of a site. From another host only the very same directory is known again.

    Args:
        keep: write down what later calls go by. When that cannot be written, the key is the one of this path.
    """
    host, path, inode = os.uname().nodename, str(here), here.stat().st_ino
    known = _read(here)
    if known is not None and _is_same(known, host, path, inode):
        key = known.key
    elif known is None and (here / _FILE).with_name("journal.db").exists():
        key = _hash(f"{host}:{path}")  # of a version that kept none
    else:
        key = _hash(f"{host}:{path}:{inode}")
    present = _Identity(key, host, path, inode)
    if keep and known != present:
        with suppress(OSError):  # read-only: the journal says so
            _write(here / _FILE, present)
    return key


def _is_same(known: _Identity, host: str, path: str, inode: int) -> bool:
    if known.host != host:
        return known.inode == inode
    if known.path == path:
        return True
    original = _read(Path(known.path))
    return original is None or original.key != known.key


def _read(here: Path) -> _Identity | None:
    try:
        return _Identity(**json.loads((here / _FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _write(file: Path, identity: _Identity) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f"key.{secrets.token_hex(4)}")
    beside.write_text(json.dumps(asdict(identity)))
    beside.replace(file)


def _hash(text: str) -> str:
    return hashlib.sha1(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()[:12]
