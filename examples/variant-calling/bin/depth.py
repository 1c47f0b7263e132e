"""Write the mean depth of windows of 50 bases: depth.py BAM OUTPUT (columns: start, depth)."""

import sys
from pathlib import Path

import pysam

WINDOW = 50

bam, output = sys.argv[1:]
depths = [int(line.split("\t")[2]) for line in pysam.depth("-a", bam).splitlines()]
rows = ["start\tdepth\n"]
for start in range(0, len(depths), WINDOW):
    window = depths[start : start + WINDOW]
    rows.append(f"{start + 1}\t{sum(window) / len(window):.2f}\n")
Path(output).write_text("".join(rows))
