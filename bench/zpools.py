# SPDX-License-Identifier: Apache-2.0
"""The zpools beside the kernel's zsmalloc, on pages of real programs: how dense
they are after filling, freeing and compaction, what their operations cost, and
what the longest chain of zsmalloc should be. Prints Markdown.

The pages are made once and kept (bench/contents.py). The kernel keeps the same
pages in a zram device, which needs root; without, its rows are missing."""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys

import contents
import kernel

CHAINS = [4, 8, 16, 32]
STAGES = [("filled", "filled"), ("halved", "half freed"),
          ("compacted", "compacted"), ("replaced", "replaced"),
          ("replaced_compacted", "then compacted")]
SMALL = 5000  # objects


def parse():
    p = argparse.ArgumentParser(
        prog="./dev bench zpool", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--contents", default=",".join(contents.CONTENTS),
                   help="programs (default %(default)s)")
    p.add_argument("--megabytes", type=int, default=64,
                   help="of pages from each (default 64)")
    p.add_argument("--rounds", type=int, default=5,
                   help="of time measurement, 0 for none (default 5)")
    p.add_argument("--codec", default="lz4", choices=["lz4", "zstd"])
    p.add_argument("--tables", default="density,times,chains",
                   help="which to make (default %(default)s)")
    p.add_argument("--classes", action="store_true",
                   help="also the classes of zsmalloc at each stage, as the "
                   "kernel's debugfs shows them")
    p.add_argument("--no-kernel", action="store_true")
    p.add_argument("--folder", help="for the pages (default build/contents)",
                   default=os.path.join(contents.ROOT, "build/contents"))
    p.add_argument("--build",
                   default=os.path.join(contents.ROOT, "build/release"))
    p.add_argument("--json", metavar="FILE", help="write all figures")
    return p.parse_args()


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def make_contents(args):
    """{program: file}"""
    files = {}
    for name in args.contents.split(","):
        if name not in contents.CONTENTS:
            sys.exit(f"bench: there is no content '{name}'; choose from "
                     + ", ".join(contents.CONTENTS))
        try:
            files[name] = contents.make(name, args.folder, args.megabytes)
        except (contents.Skipped, OSError, subprocess.SubprocessError) as why:
            say(f"{name} is left out: {why}")
    return files


def zram_disk(args, undo):
    """None: the kernel cannot take part, which is said."""
    if args.no_kernel:
        return None
    if os.geteuid() != 0:
        say("no rows of the kernel: a zram device needs root")
        return None
    try:
        disk = kernel.ZramDisk(undo, args.codec)
        disk.start(1 << 20)
    except OSError as why:
        say(f"no rows of the kernel: a zram device with {args.codec}: {why}")
        return None
    return disk


def measure(args, path, *options):
    """The first line, and {zpool: line}."""
    command = [os.path.join(args.build, "zpools"), "--codec", args.codec,
               *options, path]
    out = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    lines = [json.loads(line) for line in out.splitlines()]
    return lines[0], {line["zpool"]: line for line in lines[1:]}


def overhead(fill, metadata=True):
    """Per cent of the compressed bytes."""
    held = fill["frames"] + (fill["metadata"] if metadata else 0)
    return (held / fill["payload"] - 1) * 100


def given_back(fills):
    """Of the frames that a pool of the survivors alone would not have."""
    filled, compacted, fresh = (fills[stage]["frames"] for stage in
                                ("filled", "compacted", "fresh"))
    return (filled - compacted) / (filled - fresh) * 100


def table(columns, rows):
    print("\n| " + " | ".join(columns) + " |")
    print("|" + "|".join("--:" if i > 1 else "---"
                         for i in range(len(columns))) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


# ---- the tables


def density_table(results):
    print("\nOverhead in per cent of the compressed bytes: frames, and in "
          "brackets frames and\nmetadata. `given back`: the frames that "
          "compaction and the frees before it gave\nback, of those that a "
          "fresh pool of the survivors does not have.")
    rows = []
    for name, (_, by_pool) in results.items():
        for pool in ("zsmalloc", "kernel", "z3fold", "zbud"):
            if pool not in by_pool:
                continue
            fills = by_pool[pool]["fills"]
            rows.append(
                [name, pool] +
                [f"{overhead(fills[s], False):.1f} ({overhead(fills[s]):.1f})"
                 for s, _ in STAGES] + [f"{given_back(fills):.1f}"])
    table(["pages of", "zpool"] + [title for _, title in STAGES] +
          ["given back"], rows)


def content_table(results):
    rows = [[name, f"{head['pages']:,}",
             f"{head['payload'] / head['pages']:.0f}",
             f"{head['raw'] / head['pages'] * 100:.1f} %"]
            for name, (head, _) in results.items()]
    table(["program", "pages", "bytes compressed", "kept raw"], rows)


def times_table(results):
    print("\nCPU nanoseconds for an object, and in brackets what a plain copy "
          "of the same\nbytes takes; for a read also the difference. `frame`: "
          "for each frame that\ncompaction gave back.")
    rows = []
    for name, (_, by_pool) in results.items():
        copy = by_pool["copy"]["ns"]
        for pool in ("zsmalloc", "z3fold", "zbud"):
            ns = by_pool[pool]["ns"]
            rows.append([name, pool] +
                        [f"{ns[what]:.0f} ({copy[what]:.0f})"
                         for what in ("write", "rewrite", "read")] +
                        [f"{ns['read'] - copy['read']:.0f}",
                         f"{ns['free']:.0f}", f"{ns.get('frame', 0):.0f}"])
    table(["pages of", "zpool", "write", "rewrite", "read", "read beyond copy",
           "free", "frame"], rows)


def chain_table(args, files):
    print("\nOverhead in per cent of the compressed bytes, metadata included, "
          "when the longest\nchain of zsmalloc is " +
          ", ".join(map(str, CHAINS)) + " pages.")
    names = ",".join(f"zsmalloc:{chain}" for chain in CHAINS)
    rows = []
    together = os.path.join(args.folder, f"together.{os.getpid()}")
    try:
        with open(together, "wb") as out:
            for path in files.values():
                with open(path, "rb") as f:
                    shutil.copyfileobj(f, out)
        jobs = [(name, path, SMALL) for name, path in files.items()]
        jobs += [(name, path, 0) for name, path in files.items()]
        jobs.append(("all together", together, 0))
        for name, path, objects in jobs:
            head, by_pool = measure(args, path, "--rounds", "0", "--zpools",
                                    names, "--objects", str(objects))
            pools = [by_pool[f"zsmalloc:{chain}"] for chain in CHAINS]
            rows.append([name, f"{head['pages']:,}"] + [
                " / ".join(f"{overhead(p['fills'][s]):.1f}" for p in pools)
                for s, _ in STAGES])
    finally:
        os.unlink(together)
    table(["pages of", "objects"] + [title for _, title in STAGES], rows)


def verdicts(results):
    """What the project promises of zsmalloc, content by content."""
    missed = 0
    for name, (_, by_pool) in results.items():
        fills = by_pool["zsmalloc"]["fills"]
        claims = [("gives back at least 90 % after random frees",
                   given_back(fills) >= 90)]
        if "kernel" in by_pool:
            theirs = by_pool["kernel"]["fills"]
            for count_metadata in (False, True):
                what = "frames" + " and metadata" * count_metadata
                for stage, title in STAGES:
                    ours = overhead(fills[stage], count_metadata)
                    limit = overhead(theirs[stage], count_metadata)
                    claims.append((f"{what}, {stage}: {ours:.1f} % beside the "
                                   f"kernel's {limit:.1f} %",
                                   ours <= limit if stage == "filled"
                                   else ours < limit))
        for claim, holds in claims:
            if not holds:
                missed += 1
                print(f"\nMISSED: {name}: {claim}")
    if missed == 0:
        print("\nOn every content zsmalloc is at least as dense as the "
              "kernel's when filled, and\ndenser after each kind of churn, "
              "and gives back 90 % or more.")


def run(args, disk):
    files = make_contents(args)
    tables = args.tables.split(",")
    results = {}
    for name, path in files.items():
        say(name)
        options = ["--rounds", str(args.rounds if "times" in tables else 0)]
        if disk is not None:
            disk.start(os.path.getsize(path))
            options += ["--zram", disk.name]
        if args.classes:
            options.append("--classes")
        results[name] = measure(args, path, *options)
    content_table(results)
    if "density" in tables:
        density_table(results)
        if disk is not None:
            verdicts(results)
    if "times" in tables and args.rounds > 0:
        times_table(results)
    if "chains" in tables:
        chain_table(args, files)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(results, f)


def main():
    args = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with kernel.Undo() as undo:
        run(args, zram_disk(args, undo))


if __name__ == "__main__":
    main()
