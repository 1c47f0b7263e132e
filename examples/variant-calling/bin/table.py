"""Tabulate variants, one a row, with depth and share of the variant in each sample: table.py VCF OUTPUT."""

import sys
from pathlib import Path

import pysam

vcf, output = sys.argv[1:]
with pysam.VariantFile(vcf) as variants:
    samples = list(variants.header.samples)
    header = ["position", "reference", "variant", "kind", "quality", "samples"]
    rows = [header + [f"{sample}:{what}" for sample in samples for what in ("depth", "share")]]
    for record in variants:
        reference, variant = record.ref, record.alts[0]
        kind = "SNV" if len(reference) == len(variant) else "indel"
        carriers = sum(record.samples[sample]["GT"] == (1,) for sample in samples)
        row = [str(record.pos), reference, variant, kind, f"{record.qual:.0f}", str(carriers)]
        for sample in samples:
            counts = record.samples[sample]["AD"]
            if counts[0] is None or not sum(counts):
                row += [".", "."]
            else:
                row += [str(sum(counts)), f"{counts[1] / sum(counts):.2f}"]
        rows.append(row)
Path(output).write_text("".join("\t".join(row) + "\n" for row in rows))
