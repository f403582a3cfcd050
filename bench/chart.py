#!/usr/bin/env python3
"""Draws docs/performance.svg from the rows that compare.py has saved, and prints them as docs/performance.md's table.

    chart.py RESULTS.json OUT.svg
"""
import json, pathlib, sys

BARS = [("python", "Python pipeline", "#9aa0a6"), ("ours", "Imagefleet", "#1a73e8"), ("bound", "bound of this machine", "#c6dafc")]
LEFT, TOP, GROUP, BAR, WIDTH = 120, 64, 84, 20, 860


def main():
    results = json.loads(pathlib.Path(sys.argv[1]).read_text())
    rows = results["rows"]
    scale = (WIDTH - LEFT - 150) / max(row[key] for row in rows for key, _, _ in BARS)
    height = TOP + GROUP * len(rows) + 16
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" font-size="14">',
             f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
             f'<text x="16" y="26" font-size="16">images/s, ViT-B/32 ({results["machine"]})</text>']
    x = 16
    for _, label, colour in BARS:
        parts.append(f'<rect x="{x}" y="38" width="12" height="12" fill="{colour}"/><text x="{x + 18}" y="49">{label}</text>')
        x += 40 + 8 * len(label)
    for i, row in enumerate(rows):
        y = TOP + GROUP * i + 10
        parts.append(f'<text x="16" y="{y + 36}">{row["pictures"]}</text>')
        for n, (key, _, colour) in enumerate(BARS):
            long, at = row[key] * scale, y + n * (BAR + 2)
            more = f'  ({row["ratio"]:.1f}x)' if key == "ours" else ""
            parts.append(f'<rect x="{LEFT}" y="{at}" width="{long:.1f}" height="{BAR}" fill="{colour}"/>'
                         f'<text x="{LEFT + long + 8:.1f}" y="{at + 15}">{row[key]:.1f}{more}</text>')
    pathlib.Path(sys.argv[2]).write_text("\n".join([*parts, "</svg>"]) + "\n")
    print("| pictures | Python/s | ours/s | ratio | model alone/s | decoding alone/s | bound/s | of the bound | deviation mean | worst "
          "| top-10 | peak MiB (Python) | core-s/1,000 |")
    print("|---|---" * 6 + "|---|")
    for r in rows:
        print(f"| {r['pictures']} | {r['python']:.1f} | {r['ours']:.1f} | {r['ratio']:.2f}x | {r['encode']:.1f} | {r['decode']:.1f} "
              f"| {r['bound']:.1f} | {r['ours'] / r['bound']:.0%} | {r['deviation_mean']:.4f} | {r['deviation_worst']:.4f} "
              f"| {r['top_10']:.1%} | {r['peak_mib']:.0f} ({r['python_peak_mib']:.0f}) | {r['core_seconds_per_1000']:.0f} |")


if __name__ == "__main__":
    main()
