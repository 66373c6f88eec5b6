# SPDX-License-Identifier: Apache-2.0
"""uzswap, kernel zswap and kernel zram side by side at the same total memory.

Every round runs every pattern on every system once, systems in rotating order,
so that what disturbs the machine disturbs all. Each run is a process of its
own. Total memory is resident + pool (+ metadata for uzswap); the kernel's share
is found by one calibration run for each system.
"""
import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import kernel

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
PATTERNS = ["fill", "seq", "seqw", "rand", "randw", "zipf"]


def parse():
    p = argparse.ArgumentParser(
        prog="./dev bench", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--megabytes", type=int, default=256,
                   help="size of the region that is accessed (default 256)")
    p.add_argument("--total", type=int, default=0, metavar="MB",
                   help="memory each system may use (default 5/8 of it)")
    p.add_argument("--patterns", default=",".join(PATTERNS))
    p.add_argument("--threads", default="1,2")
    p.add_argument("--systems", default="uzswap,zswap,zram")
    p.add_argument("--compressor", default="lz4", help="uzswap's")
    p.add_argument("--zswap-compressor", default="lzo")
    p.add_argument("--zram-compressor", default="lz4")
    p.add_argument("--uzswap-options", default="",
                   help="more options for uzswap run, e.g. '--evict move'")
    p.add_argument("--content", help="file of pages (default: the anonymous "
                   "memory of a live python program)")
    p.add_argument("--build", default=os.path.join(ROOT, "build/release"))
    p.add_argument("--json", metavar="FILE", help="write all samples")
    p.add_argument("--smoke", action="store_true",
                   help="one small round of uzswap alone (no privilege)")
    return p.parse_args()


CONTENT_PROGRAM = """
import json, sys
rows = [{"id": i, "name": "user%06d" % (i * 7919 % 1000003),
         "mail": "u%d@example.org" % i, "score": i * 0.37,
         "tags": ["t%d" % (i % 17), "x" * (i % 23)]} for i in range(60000)]
text = json.dumps(rows)
again = json.loads(text)
print("ready", flush=True)
sys.stdin.read()
"""


def live_content(path):
    """Pages of the anonymous memory of a running python program."""
    p = subprocess.Popen([sys.executable, "-c", CONTENT_PROGRAM],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    p.stdout.readline()
    with open(f"/proc/{p.pid}/maps") as maps, \
            open(f"/proc/{p.pid}/mem", "rb") as mem, open(path, "wb") as out:
        for line in maps:
            fields = line.split()
            anonymous = len(fields) == 5 or fields[5] == "[heap]"
            if fields[1].startswith("rw") and anonymous:
                begin, end = (int(x, 16) for x in fields[0].split("-"))
                for at in range(begin, end, 4096):
                    mem.seek(at)
                    page = mem.read(4096)
                    if page.strip(b"\0"):
                        out.write(page)
    p.stdin.close()
    p.wait()


class Sampler(threading.Thread):
    """The highest of a measure, taken 100 times a second."""

    def __init__(self, measure):
        super().__init__(daemon=True)
        self.measure = measure
        self.peak = 0
        self.stopped = threading.Event()
        self.start()

    def run(self):
        while not self.stopped.wait(0.01):
            try:
                self.peak = max(self.peak, self.measure())
            except (OSError, ValueError, IndexError):
                pass

    def stop(self):
        self.stopped.set()
        self.join()
        return self.peak


def rss(pid):
    total = 0
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith(("RssAnon", "RssShmem")):
                total += int(line.split()[1]) * 1024
    return total


def child_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        children = f.read().split()
    return int(children[0]) if children else pid


class Uzswap:
    name = "uzswap"

    def __init__(self, args):
        self.command = [os.path.join(args.build, "uzswap"), "run", "--quiet",
                        "--memory", f"{args.total}M", "--compressor",
                        args.compressor, "--backing", "none",
                        "--max-pool-percent", "95"]
        self.command += args.uzswap_options.split() + ["--"]

    def start(self):
        pass

    def stop(self):
        pass

    def run(self, command):
        p = subprocess.Popen(self.command + command, stdout=subprocess.PIPE,
                             text=True)
        sampler = Sampler(lambda: rss(child_of(p.pid)))
        out = p.communicate()[0]
        peak = sampler.stop()
        return p.returncode, out, peak


class Rival:
    """A kernel system with its cgroup."""

    def __init__(self, system, cgroup, limit):
        self.system = system
        self.name = system.name
        self.cgroup = cgroup
        self.limit = limit

    def start(self):
        self.system.start()

    def stop(self):
        self.system.stop()

    def run(self, command):
        self.cgroup.limit(self.limit)
        p = subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                             preexec_fn=self.cgroup.enter)
        sampler = Sampler(
            lambda: self.cgroup.usage() + self.system.pool())
        out = p.communicate()[0]
        return p.returncode, out, sampler.stop()

    def calibrate(self, command, megabytes, total):
        """The limit at which resident + pool = total."""
        self.limit = int(total * 0.6)
        self.start()
        try:
            pools = Sampler(self.system.pool)
            code, _, _ = self.run(command)
            pool = pools.stop()
        finally:
            self.stop()
        if code != 0:
            sys.exit(f"bench: {self.name}: calibration run failed ({code})")
        cost = pool / (megabytes - self.limit)
        if cost >= 1 or total <= megabytes * cost:
            sys.exit(f"bench: {self.name}: the content does not compress "
                     f"enough for a total of {total >> 20} MB")
        self.limit = int((total - megabytes * cost) / (1 - cost)) & ~4095
        print(f"bench: {self.name}: {cost:.2f} bytes of pool per byte, so "
              f"{self.limit >> 20} MB resident", flush=True)


def measure(system, command):
    system.start()
    try:
        code, out, peak = system.run(command)
    finally:
        system.stop()
    if code != 0:
        return {"failed": code}
    result = json.loads(out)
    result["peak"] = peak
    result["rate"] = result["operations"] / result["seconds"]
    return result


def key(pattern, threads):
    return f"{pattern}/{threads}"


def table(samples, systems, args):
    print(f"\n{args.megabytes} MB accessed, {args.total} MB in all for each "
          f"system; median of {args.rounds} interleaved rounds; "
          f"ratio = uzswap / rival in the same round (min–max)\n")
    head = f"{'pattern/threads':16}{'system':9}{'kops/s':>8}{'p50 µs':>8}" \
           f"{'p99':>8}{'p99.9':>8}{'CPU s':>7}{'peak MB':>9}  ratio"
    print(head + "\n" + "─" * (len(head) + 16))
    for which, by_system in samples.items():
        ours = by_system.get("uzswap", [])
        for name in systems:
            runs = by_system[name]
            good = [r for r in runs if "failed" not in r]
            if not good:
                print(f"{which:16}{name:9}  failed: {runs}")
                continue
            med = lambda f: statistics.median(r[f] for r in good)
            ratio = ""
            if name != "uzswap" and ours:
                pairs = sorted(u["rate"] / r["rate"] for u, r in
                               zip(ours, runs)
                               if "failed" not in u and "failed" not in r)
                if pairs:
                    ratio = f"{statistics.median(pairs):.2f} " \
                            f"({pairs[0]:.2f}–{pairs[-1]:.2f})"
            if len(good) < len(runs):
                ratio += f"  {len(runs) - len(good)} of {len(runs)} FAILED"
            print(f"{which:16}{name:9}{med('rate') / 1000:8.1f}"
                  f"{med('p50') / 1000:8.1f}{med('p99') / 1000:8.1f}"
                  f"{med('p999') / 1000:8.1f}{med('cpu'):7.2f}"
                  f"{med('peak') / 2**20:9.0f}  {ratio}")


def main():
    args = parse()
    if args.smoke:
        args.rounds, args.systems, args.megabytes = 1, "uzswap", 64
    args.total = args.total or args.megabytes * 5 // 8
    systems = args.systems.split(",")
    if any(s != "uzswap" for s in systems) and os.geteuid() != 0:
        sys.exit("bench: the kernel's zswap and zram need root: swapon, memory "
                 "cgroups, /sys/module/zswap and /sys/class/zram-control.\n"
                 "Run it with sudo, or compare nothing: --systems uzswap")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    patterns = os.path.join(args.build, "patterns")
    work = tempfile.mkdtemp(prefix="uzswap-bench-")
    with kernel.Undo() as undo:
        undo.add(shutil.rmtree, work)
        content = args.content or os.path.join(work, "pages")
        if not args.content:
            live_content(content)
        with open(content, "rb") as f:  # in the page cache, charged to nobody
            while f.read(1 << 20):
                pass
        running = []
        if "uzswap" in systems:
            running.append(Uzswap(args))
        calibration = [patterns, "seq", "1", str(args.megabytes), content]
        for name in systems:
            if name == "uzswap":
                continue
            make, compressor = {
                "zswap": (kernel.Zswap, args.zswap_compressor),
                "zram": (kernel.Zram, args.zram_compressor)}[name]
            rival = Rival(make(undo, 2 * args.megabytes, compressor),
                          kernel.Cgroup(undo) if not running or
                          not isinstance(running[-1], Rival)
                          else running[-1].cgroup, 0)
            rival.calibrate(calibration, args.megabytes << 20,
                            args.total << 20)
            running.append(rival)
        samples = {}
        jobs = [(p, t) for p in args.patterns.split(",")
                for t in args.threads.split(",")]
        started = time.time()
        for r in range(args.rounds):
            random.seed(r)
            for number, (pattern, threads) in enumerate(jobs):
                order = random.sample(running, len(running))
                for system in order:
                    result = measure(system, [patterns, pattern, threads,
                                              str(args.megabytes), content])
                    samples.setdefault(key(pattern, threads), {}).setdefault(
                        system.name, []).append(result)
                done = r * len(jobs) + number + 1
                print(f"\rbench: {done}/{args.rounds * len(jobs)} "
                      f"({time.time() - started:.0f} s)   ", end="",
                      file=sys.stderr, flush=True)
        table(samples, [s.name for s in running], args)
        if args.json:
            with open(args.json, "w") as f:
                json.dump({"args": vars(args), "samples": samples}, f)
        failed = [k for k, s in samples.items()
                  if any("failed" in x for x in s.get("uzswap", []))]
        if failed:
            sys.exit(f"bench: uzswap failed in {', '.join(failed)}")


if __name__ == "__main__":
    main()
