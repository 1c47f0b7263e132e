"""Merge the calls of several samples into one file: merge.py OUTPUT VCF..."""

import sys

import pysam.bcftools as bcftools

output, *vcfs = sys.argv[1:]
bcftools.merge("--no-version", "-m", "none", "-Ov", "-o", output, *vcfs, catch_stdout=False)
