"""Align pairs of reads, one after the other in one file, with minimap2: align.py SAMPLE REFERENCE READS OUTPUT.

The @PG line is left out: it holds a command line, and results should not depend on where they were made.
"""

import sys
from pathlib import Path

import pyminimap2

sample, reference, reads, output = sys.argv[1:]
group = rf"@RG\tID:{sample}\tSM:{sample}\tPL:ILLUMINA"
options = ["-a", "-x", "sr", "-t", "1", "-R", group]
sam, log = pyminimap2.main([*options, reference, reads])
lines = [line for line in sam.splitlines(keepends=True) if not line.startswith("@PG\t")]
flags = [int(line.split("\t")[1]) for line in lines if not line.startswith("@")]
if not flags:
    sys.exit(f"minimap2 wrote no alignment:\n{log}")
Path(output).write_text("".join(lines))
mapped = sum(not flag & 0x904 for flag in flags)  # neither unmapped nor secondary nor supplementary
reads_seen = sum(not flag & 0x900 for flag in flags)
print(f"{sample}: {mapped} of {reads_seen} reads aligned", file=sys.stderr)
