#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Proves that the tests of docs/bugs.md test something: applies each change of
tools/mutants_table.py, which takes one guard away, to a copy of the tree, and
demands that the named test then fails. First all of them must pass unchanged.

usage: tools/mutants.py [--jobs N] [--list] [BUG...]

The copy and its debug build stay in build/mutants, so that a second run is
quick. A test that hangs counts as failed: many guards prevent deadlocks."""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import time

import mutants_table

ROOT = pathlib.Path(__file__).resolve().parent.parent
TREE = ROOT / "build" / "mutants" / "tree"
BUILD = TREE / "build" / "debug"
TEST_SECONDS = 20
# A dead test leaves a report that names the test it died in.
ENVIRONMENT = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")


def write_if_different(path, data):
    """So that only what changed is built again."""
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def copy_tree():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT,
        check=True, capture_output=True).stdout.decode()
    names = {name for name in listed.split("\0")
             if name and (ROOT / name).is_file()}
    for name in names:
        write_if_different(TREE / name, (ROOT / name).read_bytes())
        (TREE / name).chmod((ROOT / name).stat().st_mode)
    for path in (TREE / "src").rglob("*"):
        if path.is_file() and str(path.relative_to(TREE)) not in names:
            path.unlink()


def build(targets, jobs):
    """None, or what the compiler said."""
    result = subprocess.run(
        ["cmake", "--build", str(BUILD), "-j", str(jobs), "--target", *targets],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return None if result.returncode == 0 else result.stdout


def run_test(target, pattern):
    """(passed, what happened)."""
    command = [str(BUILD / target), "--gtest_filter=" + pattern,
               "--gtest_brief=1"]
    try:
        result = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=TEST_SECONDS, errors="replace", env=ENVIRONMENT)
    except subprocess.TimeoutExpired:
        return False, "hangs"
    ran = re.search(r"(\d+) tests? from", result.stdout)
    if result.returncode == 0 and (ran is None or ran.group(1) == "0"):
        return True, "no test is called " + pattern
    if result.returncode == 0:
        return True, "passes"
    if result.returncode < 0:
        said = [line for line in result.stdout.splitlines()
                if line.startswith("uzswap: ")]
        return False, "dies: " + (said[-1][8:] if said else
                                  "signal %d" % -result.returncode)
    failed = re.findall(r"^\[  FAILED  \] ([\w/.]+)", result.stdout, re.M)
    return False, "fails: " + " ".join(sorted(set(failed)))


def mutated(mutant):
    """(path, old bytes, new bytes)."""
    path = TREE / mutant.file
    text = path.read_text()
    if text.count(mutant.old) != 1:
        sys.exit("%s: \"%s\" is there %d times in %s" % (
            mutant.bug, mutant.old, text.count(mutant.old), mutant.file))
    return path, text, text.replace(mutant.old, mutant.new)


def survives(mutant, jobs):
    """True if the test did not notice, or could not be asked."""
    path, old, new = mutated(mutant)
    start = time.monotonic()
    path.write_text(new)
    try:
        said = build([mutant.target], jobs)
        if said is not None:
            print(said)
            passed, what = True, "does not compile"
        else:
            passed, what = run_test(mutant.target, mutant.test)
    finally:
        path.write_text(old)
    print("%-4s %-8s %s, without: %s\n     %s (%.0f s)" % (
        mutant.bug, "SURVIVED" if passed else "killed", mutant.test,
        mutant.without, what, time.monotonic() - start), flush=True)
    return passed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--list", action="store_true")
    parser.add_argument("bugs", nargs="*", metavar="BUG")
    options = parser.parse_args()
    mutants = [m for m in mutants_table.MUTANTS
               if not options.bugs or m.bug in options.bugs]
    if options.list:
        for m in mutants:
            print("%-4s %s.%s, without: %s" % (m.bug, m.target, m.test,
                                               m.without))
        return 0
    copy_tree()
    for m in mutants:
        mutated(m)
    subprocess.run(["cmake", "--preset", "debug", "-DUZSWAP_TESTS=all"],
                   cwd=TREE, check=True, stdout=subprocess.DEVNULL)
    said = build(sorted({m.target for m in mutants}), options.jobs)
    if said is not None:
        print(said)
        return 1
    bad = 0
    for target, test in sorted({(m.target, m.test) for m in mutants}):
        passed, what = run_test(target, test)
        if not passed or what != "passes":
            print("unchanged: %s %s %s" % (target, test, what), flush=True)
            bad += 1
    bad += sum(survives(m, options.jobs) for m in mutants)
    print("%d mutants, %d bad" % (len(mutants), bad))
    return 0 if bad == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
