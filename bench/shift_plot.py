# SPDX-License-Identifier: Apache-2.0
"""Draws what shift.py saw: three panels over time, one line for each system."""
import math

WIDTH, LEFT, RIGHT, TOP = 860, 84, 24, 46
PANEL, GAP, BOTTOM = 150, 44, 46
COLOURS = {"uzswap": "#0b6e4f", "zswap": "#c8553d", "zram": "#4062bb"}


def series(samples, periods):
    """Per look, from the first move on: seconds, share from RAM in percent,
    thousand accesses a second, MB written since then. Looks of half a second
    are joined, so that a line can be followed."""
    moved = [s for s in samples if 1 <= s["period"] <= periods][::2]
    points = []
    for before, now in zip(moved, moved[1:]):
        seconds = now["t"] - before["t"]
        accesses = now["accesses"] - before["accesses"]
        reads = now["reads"] - before["reads"]
        if seconds <= 0:
            continue
        share = 100 * (1 - reads / accesses) if accesses else 0
        points.append((now["t"] - moved[0]["t"], max(share, 0),
                       accesses / seconds / 1000,
                       (now["written"] - moved[0]["written"]) / 2**20))
    return points


def nice(top):
    """A round number that is at least that, and a step for its marks."""
    if top <= 0:
        return 1, 0.5
    step = 10 ** math.floor(math.log10(top))
    for part in (0.2, 0.5, 1, 2):
        if top / (step * part) <= 6:
            step *= part
            break
    return math.ceil(top / step) * step, step


def text(x, y, words, anchor="start", size=12, more=""):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" '
            f'font-size="{size}" {more}>{words}</text>')


def line(x1, y1, x2, y2, colour, more=""):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{colour}" {more}/>')


class Panel:
    def __init__(self, number, title, seconds, low, top, step):
        self.y0 = TOP + number * (PANEL + GAP) + PANEL
        self.seconds, self.low, self.top = seconds, low, top
        self.parts = [text(LEFT, self.y0 - PANEL - 8, title, size=13,
                           more='font-weight="bold"')]
        mark = low
        while mark <= top + step / 1000:
            y = self.y(mark)
            self.parts.append(line(LEFT, y, WIDTH - RIGHT, y, "#ddd"))
            self.parts.append(text(LEFT - 6, y + 4, f"{mark:,.5g}", "end", 11))
            mark += step

    def x(self, seconds):
        return LEFT + (WIDTH - LEFT - RIGHT) * seconds / self.seconds

    def y(self, value):
        return self.y0 - PANEL * (min(max(value, self.low), self.top) -
                                  self.low) / (self.top - self.low)

    def moves(self, every, periods):
        for k in range(periods):
            x = self.x(k * every)
            self.parts.append(line(x, self.y0, x, self.y0 - PANEL, "#bbb",
                                   'stroke-dasharray="3 3"'))

    def draw(self, points, colour):
        path = " ".join(f"{self.x(t):.1f},{self.y(v):.1f}" for t, v in points)
        self.parts.append(f'<polyline points="{path}" fill="none" '
                          f'stroke="{colour}" stroke-width="1.8"/>')


def svg(results, args):
    seconds = args.seconds * args.periods
    lines = {name: series(r["samples"], args.periods)
             for name, r in results.items()}
    every = [p for points in lines.values() for p in points]
    lowest = min((p[1] for p in every), default=0)
    low = 90 if lowest >= 90 else 50 if lowest >= 50 else 0
    rate, rate_step = nice(max((p[2] for p in every), default=1))
    written, written_step = nice(max((p[3] for p in every), default=1))
    panels = [
        Panel(0, "Accesses served from RAM, %", seconds, low, 100,
              (100 - low) / 5),
        Panel(1, "Thousand accesses a second", seconds, 0, rate, rate_step),
        Panel(2, "Written to the disk since the first move, MB", seconds, 0,
              written, written_step)]
    height = TOP + 3 * (PANEL + GAP) - GAP + BOTTOM
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
             f'height="{height}" viewBox="0 0 {WIDTH} {height}" '
             'font-family="sans-serif" fill="#222">',
             f'<rect width="{WIDTH}" height="{height}" fill="white"/>']
    at = WIDTH - RIGHT
    for name in reversed(list(lines)):
        parts.append(text(at, 18, name, "end", 13,
                          f'fill="{COLOURS[name]}" font-weight="bold"'))
        at -= 9 * len(name) + 16
    parts.append(text(LEFT, 18, f"{args.total * args.factor:,} MB of data, "
                      f"{args.total} MB of memory, a working set of "
                      f"{args.total * args.window:.0f} MB that moves"))
    for number, panel in enumerate(panels):
        panel.moves(args.seconds, args.periods)
        for name, points in lines.items():
            panel.draw([(p[0], p[number + 1]) for p in points], COLOURS[name])
        parts += panel.parts
    for k in range(args.periods + 1):
        parts.append(text(panels[2].x(k * args.seconds), height - BOTTOM + 18,
                          f"{k * args.seconds:g}", "middle", 11))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, height - 8,
                      "seconds; a dashed line is a move", "middle", 11))
    return "\n".join(parts + ["</svg>\n"])
