#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Draws results of the benchmark: picture.py LIMITS.json [PEER.json] > FILE.svg

LIMITS.json is of a run beside the limits, PEER.json of one beside another daemon (--peer).
Above, throughput: our rate and the peer's, each divided by the limit's of the same run; the
peer's run has no limits, so its place is ours divided by the ratio of ours to it. A line spans
the rounds. Below, latency: percentiles of a round trip, in microseconds.
"""

import json
import math
import sys
from xml.sax.saxutils import escape

THROUGHPUT = [
    ("g2h-64k", "guest to host, 64 KiB"), ("g2h-4k", "guest to host, 4 KiB"),
    ("g2h-64", "guest to host, 64 B"), ("h2g-64k", "host to guest, 64 KiB"),
    ("h2g-4k", "host to guest, 4 KiB"), ("h2g-64", "host to guest, 64 B"),
    ("sib-64k", "guest to guest, 64 KiB"), ("sib-4k", "guest to guest, 4 KiB"),
    ("many-g2h", "1,000 connections, guest to host"),
    ("many-h2g", "1,000 connections, host to guest"),
    ("crr-guest-pin", "guest connects, asks, closes"),
    ("crr-host-pin", "host connects, asks, closes"),
]
LATENCY = [
    ("rr-1-pin", "round trip, 1 B, one CPU"), ("rr-4k-pin", "round trip, 4 KiB, one CPU"),
    ("rr-1", "round trip, 1 B"), ("rr-4k", "round trip, 4 KiB"),
    ("sib-rr-1-pin", "guest to guest, 1 B, one CPU"),
]
ROWS = [name for name, _ in THROUGHPUT + LATENCY]
PERCENTILES = [("p50 us", 5), ("p99 us", 4), ("p99.9 us", 3)]      # and the size of its mark

OURS, PEER, LIMIT = "#0072b2", "#d55e00", "#595959"     # told apart also without colours: shapes
LEFT, RIGHT, WIDTH, STEP = 250, 130, 860, 26


def rows_of(path):
    with open(path, encoding="utf-8") as f:
        return {row["name"]: row for row in json.load(f)["rows"]}


def is_measured(side):
    return bool(side) and side.get("median", 0) > 0


class Axis:
    """Logarithmic, with room beside the smallest and the largest; ticks at powers of ten."""

    def __init__(self, values):
        self.low, self.high = min(values) / 1.5, max(values) * 1.5

    def x(self, value):
        share = math.log10(value / self.low) / math.log10(self.high / self.low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def ticks(self):
        for power in range(math.ceil(math.log10(self.low)),
                           math.floor(math.log10(self.high)) + 1):
            yield 10 ** power


class Picture:
    def __init__(self):
        self.parts, self.y = [], 0

    def text(self, x, y, text, anchor="start", color="#222", size=13, weight="normal"):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}" '
                          f'font-size="{size}" font-weight="{weight}">{escape(text)}</text>')

    def line(self, x1, y1, x2, y2, color, width=1.0, dash=""):
        dash = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
                          f'stroke="{color}" stroke-width="{width}"{dash}/>')

    def mark(self, x, y, color, size=5):
        """A circle is ours, a square the peer's, a diamond the limit's."""
        if color == OURS:
            shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}"'
        elif color == PEER:
            shape = (f'<rect x="{x - size:.1f}" y="{y - size:.1f}" width="{2 * size}" '
                     f'height="{2 * size}"')
        else:
            shape = (f'<path d="M{x - size:.1f} {y:.1f} L{x:.1f} {y - size:.1f} '
                     f'L{x + size:.1f} {y:.1f} L{x:.1f} {y + size:.1f} Z"')
        self.parts.append(f'{shape} fill="{color}"/>')

    def head(self, title, keys):
        self.y += 34
        self.text(20, self.y, title, size=16, weight="bold")
        self.y += 24
        x = 20
        for color, name in keys:
            self.mark(x + 5, self.y - 4, color)
            self.text(x + 16, self.y, name)
            x += 36 + 7 * len(name)
        self.y += 14

    def axis(self, axis, n_rows, unit):
        bottom = self.y + n_rows * STEP + 6
        for tick in axis.ticks():
            self.line(axis.x(tick), self.y, axis.x(tick), bottom, "#ddd")
            self.text(axis.x(tick), bottom + 16, f"{tick:,g}{unit}", "middle", size=12)
        return bottom

    def svg(self):
        height = self.y + 20
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
                f'width="{WIDTH}" height="{height:.0f}" '
                'font-family="DejaVu Sans, Verdana, sans-serif">\n'
                f'<rect width="{WIDTH}" height="{height:.0f}" fill="white"/>\n' +
                "\n".join(self.parts) + "\n</svg>\n")


def rate(value, unit):
    digits = 0 if value >= 100 else 1
    return f"{value:,.{digits}f} {unit}"


def spread_of(row, name):
    """(median, min, max) of the ratios in the rounds; None: there is none."""
    s = row.get(name) if row else None
    return (s["median"], s["min"], s["max"]) if s and s["min"] > 0 else None


def throughput_of(limits, peers):
    """(label, ours, peer's, absolute): what there is to draw."""
    result = []
    for name, label in THROUGHPUT:
        ours = spread_of(limits.get(name), "to_limit")
        if not ours:
            continue
        ratio = spread_of(peers.get(name), "to_other")
        peer = (ours[0] / ratio[0], ours[0] / ratio[2], ours[0] / ratio[1]) if ratio else None
        row = limits[name]
        result.append((label, ours, peer, rate(row["ours"]["median"], row["unit"])))
    return result


def draw_throughput(picture, drawn, has_peer):
    keys = [(OURS, "this daemon")] + ([(PEER, "the Rust daemon")] if has_peer else [])
    picture.head("Throughput, of what the kernel's sockets do alone (1)", keys)
    values = [v for _, ours, peer, _ in drawn for s in (ours, peer) if s for v in s]
    axis = Axis(values + [1.0])
    bottom = picture.axis(axis, len(drawn), "")
    picture.line(axis.x(1), picture.y, axis.x(1), bottom, LIMIT, 1.5, "5 3")
    for label, ours, peer, absolute in drawn:
        picture.y += STEP
        picture.text(LEFT - 12, picture.y - 8, label, "end")
        for color, s, dy in ((PEER, peer, -9), (OURS, ours, -15)):
            if s:
                picture.line(axis.x(s[1]), picture.y + dy, axis.x(s[2]), picture.y + dy, color, 2)
                picture.mark(axis.x(s[0]), picture.y + dy, color)
        picture.text(WIDTH - RIGHT + 12, picture.y - 8, absolute, color=OURS)
    picture.y = bottom + 30


def latency_of(limits, peers):
    """(label, [(color, side)])"""
    result = []
    for name, label in LATENCY:
        row, other = limits.get(name, {}), peers.get(name, {})
        sides = [(LIMIT, row.get("limit")), (PEER, other.get("other")), (OURS, row.get("ours"))]
        sides = [(color, side) for color, side in sides
                 if is_measured(side) and all(p in side for p, _ in PERCENTILES)]
        if sides:
            result.append((label, sides))
    return result


def draw_latency(picture, drawn):
    seen = {color for _, sides in drawn for color, _ in sides}
    names = [(OURS, "this daemon"), (PEER, "the Rust daemon"), (LIMIT, "a relay that only wakes up")]
    picture.head("Round trips: median, 99 and 99.9 in a hundred, microseconds",
                 [key for key in names if key[0] in seen])
    values = [side[p] for _, sides in drawn for _, side in sides for p, _ in PERCENTILES]
    axis = Axis(values)
    bottom = picture.axis(axis, len(drawn), " µs")
    for label, sides in drawn:
        picture.y += STEP
        picture.text(LEFT - 12, picture.y - 8, label, "end")
        for i, (color, side) in enumerate(sides):
            y = picture.y - 18 + 6 * i
            xs = [axis.x(side[p]) for p, _ in PERCENTILES]
            picture.line(xs[0], y, xs[-1], y, color, 1.5)
            for x, (_, size) in zip(xs, PERCENTILES):
                picture.mark(x, y, color, size - 1)
            if color == OURS:
                picture.text(WIDTH - RIGHT + 12, picture.y - 8,
                             f"{side['p50 us']:.1f} µs", color=OURS)
    picture.y = bottom + 30


def main(args):
    if args == ["--rows"]:
        print(",".join(ROWS))
        return 0
    if len(args) not in (1, 2) or args[0].startswith("-"):
        sys.stderr.write(__doc__)
        return 2
    limits = rows_of(args[0])
    peers = rows_of(args[1]) if len(args) > 1 else {}
    picture = Picture()
    throughput, latency = throughput_of(limits, peers), latency_of(limits, peers)
    if throughput:
        draw_throughput(picture, throughput, any(peer for _, _, peer, _ in throughput))
    if latency:
        draw_latency(picture, latency)
    if not throughput and not latency:
        sys.stderr.write("picture.py: no row that is drawn has been measured\n")
        return 1
    sys.stdout.write(picture.svg())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
