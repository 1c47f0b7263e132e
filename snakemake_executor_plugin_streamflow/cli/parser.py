"""The command line, and which function does what; those functions are imported when they are called."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; `command` is the function to call with them."""
    parser = argparse.ArgumentParser(
        prog="snakemake-streamflow",
        description="See and mend what runs of `snakemake --executor streamflow` have left: jobs, files, deployments.",
    )
    _common(parser, Path.cwd(), None, False)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    status = _add(commands, "status", "status", "what the last run does or did")
    status.add_argument("--runs", type=_positive, default=1, metavar="N", help="so many runs (default: 1)")
    status.add_argument("--tasks", action="store_true", help="every task, with the time it waited, was staged and ran")

    data = commands.add_parser("data", help="what exists where", description="See and move replicas.")
    data_commands = data.add_subparsers(title="commands", required=True, metavar="COMMAND")
    pattern = "a path as in the Snakefile, a folder, or a pattern with * and ?"

    ls = _add(data_commands, "ls", "data:ls", "list paths and where they are")
    ls.add_argument("patterns", nargs="*", metavar="PATTERN", help=f"{pattern}; default: all")

    where = _add(data_commands, "where", "data:where", "tell all replicas of one path")
    where.add_argument("path", metavar="PATH")
    where.add_argument("--look", action="store_true", help="go there: tell its place at each site, and whether it is")

    get = _add(data_commands, "get", "transfer:get", "bring files to their plain paths, or into a folder")
    get.add_argument("paths", nargs="+", metavar="PATH", help=pattern)
    get.add_argument("--to", type=Path, metavar="DIR", help="put them below this folder instead")

    rm = _add(data_commands, "rm", "remove:rm", "remove replicas at sites; never the controller's, unless it is named")
    rm.add_argument("paths", nargs="+", metavar="PATH", help=pattern)
    rm.add_argument(
        "--at",
        metavar="FILESYSTEM",
        help="only there, or at that deployment; `controller` is the working directory itself",
    )
    rm.add_argument("--yes", action="store_true", help="do not ask")

    verify = _add(data_commands, "verify", "verify:verify", "look at every replica: whether it is there, and unchanged")
    verify.add_argument("paths", nargs="*", metavar="PATH", help=f"{pattern}; default: all")
    verify.add_argument("--quick", action="store_true", help="sizes and times alone: no file is read")
    verify.add_argument("--repair", action="store_true", help="forget replicas that are gone or changed")

    _add(commands, "deployments", "status:deployments", "what runs have brought up and not taken down")

    cleanup = _add(commands, "cleanup", "cleanup:cleanup", "end and remove what dead runs have left")
    cleanup.add_argument("--dry-run", action="store_true", help="only tell what would be done")
    return parser.parse_args(argv)


def _add(commands: Any, name: str, where: str, text: str) -> argparse.ArgumentParser:
    module, _, function = where.partition(":")
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    _common(parser, *[argparse.SUPPRESS] * 3)
    parser.set_defaults(command=_late(module, function or name))
    return parser


def _common(parser: argparse.ArgumentParser, directory: Any, file: Any, json: Any) -> None:
    """Options that may stand before the command or after it."""
    parser.add_argument(
        "--directory", "-d", type=Path, default=directory, metavar="DIR", help="the workflow's working directory"
    )
    parser.add_argument("--file", default=file, metavar="FILE", help="the companion file (default: streamflow.yml)")
    parser.add_argument("--json", action="store_true", default=json, help="print JSON")


def _late(module: str, function: str) -> Callable[[argparse.Namespace], Any]:
    def call(given: argparse.Namespace) -> Any:
        return getattr(import_module(f".{module}", __package__), function)(given)

    return call


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number
