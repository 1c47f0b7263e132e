"""Which Pythons a location has, asked once, before any job is sent there that needs one."""

from __future__ import annotations

import json
import platform
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..remote.quote import quote, words

_TELL = """
import json, os, platform, sys, sysconfig
try:
    from importlib import metadata, util
    snakemake = metadata.version("snakemake") if util.find_spec("snakemake") else ""
except Exception:
    snakemake = ""
print("python " + json.dumps([
    os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable), list(sys.version_info[:2]),
    sysconfig.get_config_var("EXT_SUFFIX") or "", platform.libc_ver()[1], snakemake, sys.executable]))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """One Python of a location.

    Attributes:
        path: of the interpreter itself, behind links and virtual environments.
        asked: the one that was asked, which may be of a virtual environment.
        suffix: of its extension modules: version, architecture and kind of C library.
        glibc: "" where that is not the C library.
        snakemake: the version that it can import, or "".
    """

    path: str
    version: tuple[int, int]
    suffix: str
    glibc: str
    snakemake: str
    asked: str


def script(python: str | None) -> str:
    """Return shell text that prints a line for each Python; only for the one that is configured, if one is.

    One that lacks parts of its own library, as `python3-minimal` of Debian does, is called broken.
    """
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    names = [python] if python else [version, "python3", *(f"python3.{n}" for n in range(15, 10, -1)), "python"]
    return f"""for p in {words(dict.fromkeys(names))}; do
case $p in "~/"*) p=$HOME/${{p#"~/"}};; esac
f=$(command -v "$p" 2>/dev/null) || continue
"$p" -c {quote(_TELL)} 2>/dev/null </dev/null || echo "broken $f"
done
true
"""


def parse(text: str) -> list[Interpreter]:
    """Read the answers, each interpreter once."""
    found: dict[str, Interpreter] = {}
    for line in text.splitlines():
        if line.startswith("python ["):
            path, version, suffix, glibc, snakemake, asked = json.loads(line[7:])
            one = Interpreter(path, (version[0], version[1]), suffix, glibc, snakemake, asked)
            found.setdefault(one.path, one)
    return list(found.values())


def broken(text: str) -> list[str]:
    """Read from the answers which Pythons there do not work."""
    return [line[7:] for line in text.splitlines() if line.startswith("broken ")]


def choose(
    found: Sequence[Interpreter], glibc: tuple[int, int] | None, broken: Sequence[str] = ()
) -> Interpreter | str:
    """Return the one that can use the controller's packages, or why none can."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    reasons = []
    for one in found:
        if one.suffix != suffix:
            reasons.append(f"{one.path} is {_kind(one.version, one.suffix)}")
        elif glibc and one.glibc and _numbers(one.glibc) < glibc:
            reasons.append(f"{one.path} has glibc {one.glibc}, and the controller's packages need {_dotted(glibc)}")
        else:
            return one
    own = _kind(sys.version_info[:2], suffix)
    if not reasons and broken:
        return f"{broken[0]} lacks parts of its own library; the controller has {own} on {platform.machine()}"
    if not reasons:
        return f"there is no Python there; the controller has {own} on {platform.machine()}"
    return f"no Python there can use the controller's packages ({own}): {'; '.join(reasons)}"


def _kind(version: Sequence[int], suffix: Any) -> str:
    return f"Python {version[0]}.{version[1]} ({str(suffix).strip('.').removesuffix('.so')})"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))
