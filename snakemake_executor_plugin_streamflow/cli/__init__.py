"""The command `snakemake-streamflow`: see and mend what runs have left."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0 all is well, 1 something is not, 2 it could not be done."""
    from ..errors import StreamFlowError
    from .parser import parse

    given = parse(argv)
    try:
        answer = given.command(given)
    except StreamFlowError as error:
        print(f"snakemake-streamflow: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    try:
        print(answer.json() if given.json else answer.text, flush=True)
    except BrokenPipeError:  # the reader has seen enough
        sys.stderr.close()
    code: int = answer.code
    return code
