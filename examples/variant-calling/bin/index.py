"""Index sorted alignments: index.py BAM BAI."""

import sys

import pysam

bam, bai = sys.argv[1:]
pysam.index("-o", bai, bam, catch_stdout=False)
