"""Arguments and variables for what carries UTF-8 only."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence


def spell_out(argv: Sequence[str], env: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return arguments and environment that are UTF-8: bytes that are no UTF-8 are spelled out for a shell.

    Such names come from `os.fsdecode`; programs written in Go replace them silently.
    """
    odd = {key: value for key, value in env.items() if undecodable(value)}
    if not odd and not any(map(undecodable, argv)):
        return list(argv), dict(env)
    lines = [f"v=$({_printf(value)}); {key}=${{v%x}}; export {key}" for key, value in odd.items()]
    lines += [f'v=$({_printf(argument)}); set -- "$@" "${{v%x}}"' for argument in argv]
    script = "\n".join([*lines, "unset v", 'exec "$@"'])
    return ["sh", "-c", script, "sh"], {key: value for key, value in env.items() if key not in odd}


def undecodable(text: str) -> bool:
    """Whether a text from `os.fsdecode` holds bytes that are no UTF-8."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def _printf(text: str) -> str:
    return "printf %bx '" + "".join(f"\\0{byte:03o}" for byte in os.fsencode(text)) + "'"
