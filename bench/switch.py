# SPDX-License-Identifier: Apache-2.0
"""Switching the compressor of a running program: how long `uzswap set` takes,
how fast pages move in the background, what it costs the program, and whether
the limit holds meanwhile.

The program reads and writes random pages of a region twice its limit, and
counts. Each round has three parts in the same process: before the switch, from
the switch on, and settled. The speed in the second is given relative to the
first and to the third: the latter is what the switching costs. Memory is looked
at 200 times a second from outside (RssAnon + RssShmem).
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
PAIRS = ("lz4/zstd,zstd/lz4,lz4/deflate,deflate/lz4,lz4/842,lz4/lzo-rle,"
         "lz4/copy")

PROGRAM = """
import mmap, random, sys, time
pages, path, stop = int(sys.argv[1]), sys.argv[2], sys.argv[3]
import os
random.seed(1)
words = [random.randbytes(8) for _ in range(4000)]
m = mmap.mmap(-1, pages * 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for i in range(pages):
    m[i * 4096:i * 4096 + 4096] = b"".join(random.choices(words, k=170)) \\
        + b"%08d" % i + bytes(4096 - 170 * 8 - 8)
counter = mmap.mmap(os.open(path, os.O_RDWR), 4096)
n = 0
while not os.path.exists(stop):
    for _ in range(200):
        i = random.randrange(pages)
        assert m[i * 4096 + 1360:i * 4096 + 1368] == b"%08d" % i
        if n & 1:
            m[i * 4096 + 4000] = n >> 1 & 255
        n += 1
    counter[0:8] = n.to_bytes(8, "little")
"""


def parse():
    p = argparse.ArgumentParser(
        prog="./dev bench switch", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--pairs", default=PAIRS, help="FROM/TO,... (%(default)s)")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=1.0, help="of a part")
    p.add_argument("--megabytes", type=int, default=64, help="of the region")
    p.add_argument("--limit", type=int, default=0, metavar="MB",
                   help="default: half of the region")
    p.add_argument("--build", default=os.path.join(ROOT, "build/release"))
    p.add_argument("--json", metavar="FILE", help="write all samples")
    return p.parse_args()


class Sampler(threading.Thread):
    """The highest memory of a process since it was last asked, in KiB."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.path = f"/proc/{pid}/status"
        self.highest = 0
        self.ended = False
        self.start()

    def run(self):
        while not self.ended:
            try:
                with open(self.path) as f:
                    now = sum(int(line.split()[1]) for line in f
                              if line.startswith(("RssAnon", "RssShmem")))
            except OSError:
                return
            self.highest = max(self.highest, now)
            time.sleep(0.005)

    def take(self):
        highest, self.highest = self.highest, 0
        return highest


class Run:
    def __init__(self, arguments, first, folder):
        self.arguments = arguments
        self.uzswap = os.path.join(arguments.build, "uzswap")
        self.limit = arguments.limit or arguments.megabytes // 2
        self.stop = os.path.join(folder, "stop")
        count = os.path.join(folder, "count")
        with open(count, "wb") as f:
            f.write(bytes(4096))
        self.counter = open(count, "rb", buffering=0)
        pages = arguments.megabytes * 256
        self.process = subprocess.Popen(
            [self.uzswap, "run", "-q", "-m", f"{self.limit}M", "--compressor",
             first, "--", "/usr/bin/python3", "-c", PROGRAM, str(pages), count,
             self.stop])
        while self.count() == 0:
            if self.process.poll() is not None:
                sys.exit("the program ended early")
            time.sleep(0.05)
        self.sampler = Sampler(self.get()["pid"])

    def count(self):
        self.counter.seek(0)
        return int.from_bytes(self.counter.read(8), "little")

    def get(self):
        out = subprocess.run([self.uzswap, "get", "--json", "--wait", "0.05",
                              str(self.process.pid)], check=True,
                             stdout=subprocess.PIPE).stdout
        return json.loads(out)["processes"][0]

    def set(self, compressor):
        begin = time.monotonic()
        subprocess.run([self.uzswap, "set", "--wait", "10",
                        str(self.process.pid), "compressor=" + compressor],
                       check=True)
        return time.monotonic() - begin

    def part(self, compressor):
        """A part of a round; None: nothing is switched."""
        self.sampler.take()
        before, begin = self.count(), time.monotonic()
        sample = {}
        if compressor:
            moved = self.get()["stats"]["migrated_pages"]
            sample["set_s"] = self.set(compressor)
            start = time.monotonic()
            seen = 0
            while True:
                stats = self.get()["stats"]
                if stats["migrated_pages"] - moved > seen:
                    seen = stats["migrated_pages"] - moved
                    sample["moved"] = seen
                    sample["moving_s"] = time.monotonic() - start
                late = time.monotonic() - begin > self.arguments.seconds
                if late or stats["pools"] == 1:
                    break
                time.sleep(0.01)
            sample["pools"] = stats["pools"]
        left = self.arguments.seconds - (time.monotonic() - begin)
        time.sleep(max(left, 0))
        sample["speed"] = (self.count() - before) / (time.monotonic() - begin)
        sample["peak_kib"] = self.sampler.take()
        return sample

    def end(self):
        with open(self.stop, "w"):
            pass
        if self.process.wait() != 0:
            sys.exit("the program failed: a page had the wrong content")
        os.unlink(self.stop)
        self.sampler.ended = True


def measure(arguments, pair):
    """Rounds of: as it is; switched there; settled; switched back."""
    there, back = pair.split("/")[1], pair.split("/")[0]
    samples = []
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        run = Run(arguments, back, folder)
        try:
            for _ in range(arguments.rounds):
                plain = run.part(None)
                switched = run.part(there)
                run.part(None)
                settled = run.part(None)
                samples.append({"plain": plain, "switched": switched,
                                "settled": settled, "pair": pair})
                run.part(back)
                time.sleep(arguments.seconds)
            run.end()
        finally:
            run.process.kill()  # and its program dies with it
    return samples


def spread(values, scale=1, digits=1):
    values = sorted(v * scale for v in values)
    if not values:
        return "-"
    return (f"{statistics.median(values):.{digits}f} "
            f"({values[0]:.{digits}f}–{values[-1]:.{digits}f})")


def main():
    arguments = parse()
    limit = (arguments.limit or arguments.megabytes // 2) * 1024
    print(f"# {arguments.megabytes} MB at random under a limit of "
          f"{limit // 1024} MB, {arguments.rounds} rounds of "
          f"3 × {arguments.seconds} s")
    print(f"{'switch':<16}{'set, ms':<20}{'moved, pages/s':<26}"
          f"{'drained':<9}"
          f"{'speed / before':<19}{'/ settled':<19}peak, % of limit")
    everything = []
    for pair in arguments.pairs.split(","):
        samples = measure(arguments, pair)
        everything += samples
        on = [s["switched"] for s in samples]
        ratios = {other: [s["switched"]["speed"] / s[other]["speed"]
                          for s in samples if s[other]["speed"] > 0]
                  for other in ("plain", "settled")}
        rates = [s["moved"] / s["moving_s"] for s in on if s.get("moving_s")]
        drained = sum(s["pools"] == 1 for s in on)
        print(f"{pair.replace('/', ' → '):<16}"
              f"{spread([s['set_s'] for s in on], 1000):<20}"
              f"{spread(rates, 1, 0):<26}{drained}/{len(on):<7}"
              f"{spread(ratios['plain'], 1, 2):<19}"
              f"{spread(ratios['settled'], 1, 2):<19}"
              f"{spread([s['peak_kib'] for s in on], 100 / limit)}",
              flush=True)
    if arguments.json:
        with open(arguments.json, "w") as f:
            json.dump(everything, f, indent=1)


if __name__ == "__main__":
    main()
