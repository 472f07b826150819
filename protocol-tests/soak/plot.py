"""Draws the rows of a soak run: throughput, tail latency, RSS, descriptors and errors over time.

    plot.py SOAK.CSV SOAK.SVG
"""

import csv
import sys

import matplotlib

matplotlib.use("svg")
# Text stays text, and two drawings of the same rows are the same bytes.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "slabstash", "font.size": 9})

from matplotlib import pyplot  # noqa: E402: the backend is chosen first.

# Title, columns with their labels, factor.
PANELS = (
    ("operations a second", (("ops_per_second", "operations"),), 1),
    ("time of a call, ms", (("p50_us", "p50"), ("p999_us", "p99.9")), 0.001),
    ("RSS, MiB", (("rss_kib", "RSS"),), 1 / 1024),
    ("descriptors, connections", (("descriptors", "descriptors"), ("connections", "connections")), 1),
    ("errors", (("errors", "errors"),), 1),
)


def main():
    source, target = sys.argv[1:]
    with open(source, newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    minutes = [row["minute"] for row in rows]
    figure, axes = pyplot.subplots(len(PANELS), sharex=True, figsize=(9, 9), constrained_layout=True,
                                   gridspec_kw={"height_ratios": [2] * (len(PANELS) - 1) + [1]})
    for axis, (title, columns, factor) in zip(axes, PANELS):
        for name, label in columns:
            axis.plot(minutes, [row[name] * factor for row in rows], label=label, linewidth=1.2)
        highest = max(row[name] * factor for row in rows for name, _ in columns)
        axis.set_ylim(0, max(1, highest * 1.1))
        axis.set_ylabel(title)
        axis.grid(color="#dddddd")
        if len(columns) > 1:
            axis.legend(loc="lower right", frameon=False, ncols=len(columns))
    axes[-1].set_xlabel("minutes")
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main()
