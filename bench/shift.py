# SPDX-License-Identifier: Apache-2.0
"""A working set that moves every ten seconds over eight times the memory:
uzswap, kernel zswap in front of a disk (shrinker on), and kernel zram with a
disk behind it, each with the same memory in all (resident + pool + metadata)
and the same disk.

Of every system: which share of the accesses was served without a read from the
disk (one that brings several pages counts once), how many accesses there were,
what was written to the disk for each page that left resident memory. --json and
--svg keep them over time.

A kernel whose zswap pool is not bounded by a memory cgroup (v1) bounds it in
percent of the machine's memory only: hence the default of --total, of which one
percent of the machine's memory, the least possible pool, is half.
"""
import argparse
import json
import mmap
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import contents
import kernel
import shift_plot

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
# Program texts, page tables and the kernel's own, above what is compared.
SLACK = 24 << 20
EVERY = 0.25  # seconds from one look to the next


def mem_total():
    with open("/proc/meminfo") as f:
        return int(f.readline().split()[1]) * 1024


def parse():
    p = argparse.ArgumentParser(
        prog="./dev bench shift", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--total", type=int, default=(mem_total() // 50 >> 20) + 1,
                   metavar="MB",
                   help="memory of each system (%(default)s here)")
    p.add_argument("--factor", type=int, default=8,
                   help="data, in multiples of it (%(default)s)")
    p.add_argument("--window", type=float, default=0.75,
                   help="working set, in multiples of it (%(default)s)")
    p.add_argument("--seconds", type=float, default=10,
                   help="from one move to the next (%(default)s)")
    p.add_argument("--periods", type=int, default=6)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--systems", default="uzswap,zswap,zram")
    p.add_argument("--content", default="python",
                   help="whose pages: " + ", ".join(contents.CONTENTS))
    p.add_argument("--compressor", default="lz4", help="uzswap's")
    p.add_argument("--zswap-compressor", default="lzo")
    p.add_argument("--zram-compressor", default="lz4")
    p.add_argument("--page-cluster", type=int, default=3,
                   help="the kernel's read-ahead (%(default)s)")
    p.add_argument("--uzswap-options", default="")
    p.add_argument("--build", default=os.path.join(ROOT, "build/release"))
    p.add_argument("--json", metavar="FILE")
    p.add_argument("--svg", metavar="FILE")
    p.add_argument("--smoke", action="store_true",
                   help="uzswap alone, small and short (no privilege)")
    return p.parse_args()


def vmstat():
    with open("/proc/vmstat") as f:
        return {k: int(v) for k, v in (line.split() for line in f)}


def rss(pid):
    with open(f"/proc/{pid}/status") as f:
        return sum(int(line.split()[1]) * 1024 for line in f
                   if line.startswith(("RssAnon", "RssShmem")))


class Zswap:
    """One percent of the machine is the pool, or, with cgroups of version 2,
    what the cgroup and the shrinker make of it."""

    name = "zswap"

    def __init__(self, args, undo, disk, cgroup, _):
        settings = {"shrinker_enabled": "Y",
                    "max_pool_percent": 1 if cgroup.v1 else 50}
        self.system = kernel.Zswap(undo, 0, args.zswap_compressor,
                                   swap=disk.path, **settings)
        pool = mem_total() // 100
        if cgroup.v1 and pool > args.total << 19:
            sys.exit(f"bench: zswap takes {pool >> 20} MB at least; give a "
                     "--total of twice that")
        self.resident = (args.total << 20) - (pool if cgroup.v1 else 0)
        self.disk = disk
        self.command = []

    def counts(self, _):
        now = vmstat()
        reads, written = self.disk.counts()
        # What zswap refused went to the disk as it was.
        stored = now["zswpout"] + now["pswpout"] - now["zswpwb"]
        return {"reads": reads, "written": written, "stored": stored,
                "pool": self.system.pool()}


class Zram:
    """Half of the memory is zram's; what it cannot hold is the disk's."""

    name = "zram"

    def __init__(self, args, undo, disk, _, content):
        probe = kernel.ZramDisk(undo, args.zram_compressor)
        cost = probe.cost(content)
        pool = args.total << 19
        self.system = kernel.Zram(undo, int(pool / cost) >> 20,
                                  args.zram_compressor, disk.path)
        self.resident = (args.total << 20) - pool
        self.disk = disk
        self.command = []

    def counts(self, _):
        reads, written = self.disk.counts()
        return {"reads": reads, "written": written,
                "stored": vmstat()["pswpout"], "pool": self.system.pool()}


class Uzswap:
    """On the same disk as the others, or in a folder. What it writes is what it
    says: the page cache writes later."""

    name = "uzswap"

    def __init__(self, args, disk, folder):
        self.disk = disk
        self.command = [os.path.join(args.build, "uzswap"), "run", "--quiet",
                        "--memory", f"{args.total}M", "--compressor",
                        args.compressor, "--backing",
                        disk.path if disk else folder,
                        "--backing-size", f"{args.total * args.factor}M"]
        self.command += args.uzswap_options.split() + ["--"]
        self.resident = args.total << 20
        self.system = self
        self.last = {}

    def start(self):
        self.last = {}

    def stop(self):
        pass

    def counts(self, supervisor):
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(5)
                s.connect(f"\0uzswap-{supervisor}")
                s.sendall(b"get 100\n")
                with s.makefile("rb") as reply:
                    process = json.loads(reply.readline())["processes"][0]
        except (OSError, ValueError, KeyError, IndexError):
            return self.last  # it begins, or ends
        stats = process["stats"]
        reads = stats["device_in"]
        if self.disk:
            reads, _ = self.disk.counts()
        self.last = {
            "reads": reads, "written": stats["device_written_bytes"],
            "stored": stats["pages_out"], "pool": 0, "pid": process["pid"]}
        return self.last


class Watcher(threading.Thread):
    """Looks at the counters of the program and of the system."""

    def __init__(self, system, pid, path):
        super().__init__(daemon=True)
        self.system, self.pid = system, pid
        with open(path, "r+b") as f:
            self.counters = mmap.mmap(f.fileno(), 4096)
        self.samples = []
        self.peak = 0
        self.ended = threading.Event()
        self.begin = time.monotonic()
        self.start()

    def run(self):
        while not self.ended.is_set():
            self.look()
            self.ended.wait(EVERY)

    def look(self):
        words = struct.unpack("512Q", self.counters)
        counts = self.system.counts(self.pid)
        if not counts:
            return
        try:
            memory = rss(counts.get("pid", self.pid)) + counts["pool"]
        except OSError:
            return
        self.peak = max(self.peak, memory)
        self.samples.append({
            "t": round(time.monotonic() - self.begin, 3), "period": words[0],
            "accesses": sum(words[1:65]), "memory": memory,
            **{k: counts[k] for k in ("reads", "written", "stored")}})


def summarize(samples, periods):
    """Over the periods; `all_` is from the start, filling included."""
    moved = [s for s in samples if 1 <= s["period"] <= periods]
    first, last = moved[0], moved[-1]
    gone = {k: last[k] - first[k] for k in
            ("t", "accesses", "reads", "written", "stored")}
    # The start of uzswap is 0; that of the kernel is that of the machine.
    begun = samples[0]
    everything = {k: last[k] - begun[k] for k in ("written", "stored")}
    return {
        "accesses_per_second": gone["accesses"] / gone["t"],
        "ram_share": 1 - gone["reads"] / max(gone["accesses"], 1),
        "written_bytes": everything["written"],
        "stored_pages": everything["stored"],
        "written_per_stored": everything["written"] /
        max(everything["stored"], 1),
        "moving_written_bytes": gone["written"],
        "moving_stored_pages": gone["stored"],
        "moving_written_per_stored": gone["written"] / max(gone["stored"], 1),
        "written_per_access": gone["written"] / max(gone["accesses"], 1),
        "filling_seconds": first["t"],
    }


def run(system, program, counters, cgroup):
    with open(counters, "wb") as f:
        f.write(bytes(4096))
    system.system.start()
    p = watcher = None
    try:
        if cgroup:
            cgroup.limit(system.resident + SLACK)
        p = subprocess.Popen(system.command + program,
                             preexec_fn=cgroup.enter if cgroup else None)
        watcher = Watcher(system, p.pid, counters)
        code = p.wait()
    finally:
        if watcher is not None:
            watcher.ended.set()
            watcher.join()
        if p is not None and p.poll() is None:
            p.kill()
            p.wait()
        system.system.stop()
    if code != 0:
        sys.exit(f"bench: {system.name}: the program ended with {code}")
    return watcher


def table(results, args):
    print(f"\n{args.total * args.factor} MB of data, a working set of "
          f"{args.total * args.window:.0f} MB that moves every "
          f"{args.seconds:g} s, {args.total} MB in all for each system\n")
    print(f"{'system':9}{'kaccesses/s':>12}{'from RAM':>10}{'stored':>11}"
          f"{'written MB':>11}{'B/stored':>9}{'  while moving: B/stored':>25}"
          f"{'B/access':>9}{'peak MB':>9}")
    for name, result in results.items():
        s = result["summary"]
        print(f"{name:9}{s['accesses_per_second'] / 1000:12.1f}"
              f"{s['ram_share'] * 100:9.2f}%{s['stored_pages']:11,}"
              f"{s['written_bytes'] / 2**20:11,.0f}"
              f"{s['written_per_stored']:9.0f}"
              f"{s['moving_written_per_stored']:25.0f}"
              f"{s['written_per_access']:9.0f}"
              f"{result['peak'] / 2**20:9.0f}")
    ours = results.get("uzswap")
    for name, result in results.items():
        if ours is None or name == "uzswap":
            continue
        mine, its = ours["summary"], result["summary"]
        ratio = {k: mine[k] / its[k] for k in
                 ("written_per_stored", "accesses_per_second")}
        print(f"uzswap / {name}: written for a stored page "
              f"{ratio['written_per_stored']:.2f}, accesses "
              f"{ratio['accesses_per_second']:.2f}, from RAM "
              f"{(mine['ram_share'] - its['ram_share']) * 100:+.2f} points")


def write_json(args, results):
    """Samples as rows, which are many."""
    out = {"args": {k: v for k, v in vars(args).items()
                    if k not in ("build", "json", "svg")}, "results": {}}
    for name, result in results.items():
        columns = list(result["samples"][0])
        rows = [[s[c] for c in columns] for s in result["samples"]]
        out["results"][name] = result | {"columns": columns, "samples": rows}
    with open(args.json, "w") as f:
        json.dump(out, f, separators=(",", ":"))
        f.write("\n")


def make_systems(args, undo, work, content):
    """Each with the cgroup it runs in."""
    cgroup = disk = None
    if os.geteuid() == 0:
        cgroup = kernel.Cgroup(undo)
        disk = kernel.LoopDisk(undo, args.total * (args.factor + 1))
        kernel.PageCluster(undo, args.page_cluster)
    for name in args.systems.split(","):
        if name == "uzswap":
            yield Uzswap(args, disk, work), cgroup
        else:
            make = {"zswap": Zswap, "zram": Zram}[name]
            yield make(args, undo, disk, cgroup, content), cgroup


def main():
    args = parse()
    if args.smoke:
        args.systems, args.total = "uzswap", 32
        args.seconds, args.periods = 1, 3
    if args.systems != "uzswap" and os.geteuid() != 0:
        sys.exit("bench: the kernel's zswap and zram need root: swapon, memory "
                 "cgroups, losetup.\nRun it with sudo, or compare nothing: "
                 "--systems uzswap")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with kernel.Undo() as undo:
        work = tempfile.mkdtemp(prefix="uzswap-bench-", dir="/var/tmp")
        undo.add(shutil.rmtree, work)
        counters = os.path.join(work, "counters")
        content = contents.make(args.content, work, min(64, args.total))
        with open(content, "rb") as f:  # in the page cache, charged to nobody
            while f.read(1 << 20):
                pass
        program = [os.path.join(args.build, "shift"),
                   str(args.total * args.factor),
                   str(int(args.total * args.window)), str(args.periods),
                   str(args.seconds), str(args.threads), content, counters]
        results = {}
        for system, cgroup in make_systems(args, undo, work, content):
            print(f"bench: {system.name} ...", file=sys.stderr, flush=True)
            watcher = run(system, program, counters, cgroup)
            results[system.name] = {
                "summary": summarize(watcher.samples, args.periods),
                "peak": watcher.peak, "samples": watcher.samples}
    table(results, args)
    if args.json:
        write_json(args, results)
    if args.svg:
        with open(args.svg, "w") as f:
            f.write(shift_plot.svg(results, args))


if __name__ == "__main__":
    main()
