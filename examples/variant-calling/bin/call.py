"""Call variants of one haploid sample with bcftools: call.py REFERENCE BAM OUTPUT (also writes OUTPUT.csi)."""

import sys
from pathlib import Path

import pysam.bcftools as bcftools

reference, bam, output = sys.argv[1:]
pileup = Path(output).with_suffix(".pileup")
bcftools.mpileup(
    "--no-version", "-Ou", "-a", "AD,DP", "-q", "1", "-f", reference, "-o", str(pileup), bam, catch_stdout=False
)
bcftools.call("--no-version", "-mv", "--ploidy", "1", "-Oz", "-o", output, str(pileup), catch_stdout=False)
bcftools.index("-f", "-c", "-o", f"{output}.csi", output, catch_stdout=False)
pileup.unlink()
