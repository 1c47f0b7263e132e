"""Copy the reference genome and index it: reference.py FASTA OUTPUT (writes OUTPUT and OUTPUT.fai)."""

import shutil
import sys

import pysam

fasta, output = sys.argv[1:]
shutil.copyfile(fasta, output)
pysam.faidx(output, catch_stdout=False)
