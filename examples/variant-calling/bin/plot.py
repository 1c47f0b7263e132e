"""Draw depth and variants along the genome as SVG: plot.py OUTPUT TABLE DEPTHS..."""

import csv
import sys
from pathlib import Path

WIDTH, LEFT, RIGHT, TOP, PANEL, GAP = 900, 90, 20, 40, 90, 34
INK, FILL, SNV, INDEL = "#333333", "#b8d4e8", "#c0392b", "#e08e0b"


def rows(path):
    with Path(path).open(newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


output, table, *depth_files = sys.argv[1:]
variants = rows(table)
depths = {Path(name).stem: [(int(r["start"]), float(r["depth"])) for r in rows(name)] for name in depth_files}
end = max(start for points in depths.values() for start, _ in points) + 50
highest = max(depth for points in depths.values() for _, depth in points)
height = TOP + len(depths) * (PANEL + GAP) + 30


def x(position):
    return f"{LEFT + (WIDTH - LEFT - RIGHT) * position / end:.1f}"


svg = [
    f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
    f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12" fill="{INK}">',
    f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    f'<text x="{LEFT}" y="22" font-size="15">Papillomavirus 18: read depth and variants</text>',
    f'<circle cx="{WIDTH - 210}" cy="18" r="4" fill="{SNV}"/><text x="{WIDTH - 200}" y="22">SNV</text>',
    f'<circle cx="{WIDTH - 150}" cy="18" r="4" fill="{INDEL}"/>',
    f'<text x="{WIDTH - 140}" y="22">insertion or deletion</text>',
]
for number, (sample, points) in enumerate(depths.items()):
    base = TOP + number * (PANEL + GAP) + PANEL
    outline = " ".join(f"{x(start)},{base - PANEL * 0.8 * depth / highest:.1f}" for start, depth in points)
    svg.append(f'<polygon points="{x(0)},{base} {outline} {x(end)},{base}" fill="{FILL}"/>')
    svg.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}" stroke="{INK}"/>')
    svg.append(f'<text x="{LEFT - 8}" y="{base - 30}" text-anchor="end">{sample}</text>')
    svg.append(f'<text x="{LEFT - 8}" y="{base - 14}" text-anchor="end">up to {max(d for _, d in points):.0f}x</text>')
    for variant in variants:
        share = variant[f"{sample}:share"]
        if share == ".":
            continue
        top = base - PANEL * 0.9 * float(share)
        colour = SNV if variant["kind"] == "SNV" else INDEL
        at = x(int(variant["position"]))
        svg.append(f'<line x1="{at}" x2="{at}" y1="{base}" y2="{top:.1f}" stroke="{colour}" stroke-width="0.8"/>')
        svg.append(f'<circle cx="{at}" cy="{top:.1f}" r="3" fill="{colour}"/>')
for position in range(0, end, 1_000):
    svg.append(f'<text x="{x(position)}" y="{height - 24}" text-anchor="middle">{position:,}</text>')
svg.append(f'<text x="{LEFT}" y="{height - 6}">Filled: depth. Pins: share of the reads that carry the variant.</text>')
svg.append("</svg>")
Path(output).write_text("\n".join(svg) + "\n")
