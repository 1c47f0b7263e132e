"""Call variants of one haploid sample with bcftools: call.py REFERENCE BAM OUTPUT (also writes OUTPUT.csi).

A variant is kept when three reads carry it: a base that one or two reads cover shows nothing but their errors.
"""

import sys
from pathlib import Path

import pysam.bcftools as bcftools

reference, bam, output = sys.argv[1:]
pileup, called = (str(Path(output).with_suffix(suffix)) for suffix in (".pileup", ".called"))
bcftools.mpileup(
    "--no-version", "-Ou", "-a", "AD,DP", "-q", "1", "-f", reference, "-o", pileup, bam, catch_stdout=False
)
bcftools.call("--no-version", "-mv", "--ploidy", "1", "-Ou", "-o", called, pileup, catch_stdout=False)
bcftools.view("--no-version", "-i", "FORMAT/AD[0:1] >= 3", "-Oz", "-o", output, called, catch_stdout=False)
bcftools.index("-f", "-c", "-o", f"{output}.csi", output, catch_stdout=False)
for step in (pileup, called):
    Path(step).unlink()
