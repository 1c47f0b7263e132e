"""Sort alignments by position: sort.py SAM BAM."""

import sys

import pysam

sam, bam = sys.argv[1:]
pysam.sort("--no-PG", "-o", bam, sam, catch_stdout=False)
