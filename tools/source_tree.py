# SPDX-License-Identifier: Apache-2.0
"""What the check_*.py tools share: finding source files, reporting, running.

A check is a function (root, options) -> list of sentences about what is wrong.
Each tool also has a self-test: a small tree that breaks every rule once, so
that a check that finds nothing any more is noticed.
"""
import argparse
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SKIPPED = {".git", "build"}
TEST_FOLDERS = ("tests", "bench")
TEST_SUFFIXES = ("_test.cc", "_fuzz.cc", "_bench.cc")


def files(root, folders, suffixes):
    """Paths under root/folder that end in a suffix, relative, sorted."""
    found = []
    for folder in folders:
        for path in (root / folder).rglob("*"):
            relative = path.relative_to(root)
            if (path.is_file() and path.name.endswith(tuple(suffixes))
                    and not SKIPPED.intersection(relative.parts)):
                found.append(relative)
    return sorted(found)


def is_test(path):
    """Tests and their supports may use the whole standard library."""
    words = set(path.stem.split("_"))
    return path.name.endswith(TEST_SUFFIXES) or path.parts[0] in TEST_FOLDERS \
        or not words.isdisjoint({"test", "testing", "fixture"})


def write_tree(root, contents):
    """Makes files from {relative path: text}."""
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def expect(complaints, parts):
    """For self-tests: one complaint for each of parts, and no other."""
    wrong = []
    left = list(complaints)
    for part in parts:
        hits = [c for c in left if part in c]
        if not hits:
            wrong.append("not found: %s" % part)
        else:
            left.remove(hits[0])
    return wrong + ["found by mistake: %s" % c for c in left]


def main(name, check, self_test):
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("--build", type=pathlib.Path,
                        default=ROOT / "build" / "release",
                        help="build directory (default: build/release)")
    parser.add_argument("--root", type=pathlib.Path, default=ROOT,
                        help="source tree (default: this one)")
    parser.add_argument("--self-test", action="store_true",
                        help="check the check on a tree that is wrong")
    options = parser.parse_args()
    if options.self_test:
        with tempfile.TemporaryDirectory() as folder:
            complaints = self_test(pathlib.Path(folder))
    else:
        complaints = check(options.root, options)
    for complaint in complaints:
        print("%s: %s" % (name, complaint))
    print("%s: %d problems" % (name, len(complaints)))
    sys.exit(1 if complaints else 0)
