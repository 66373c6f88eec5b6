#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A test that exists runs: compares the test files of the tree with what ctest
knows in a configured build directory, both ways."""
import collections
import json
import subprocess

import source_tree


# Parts of test scripts, not tests.
SOURCED = {"functions", "jobs", "switching"}


def expected_tests(root):
    """Test name: the files that ask for it."""
    names = collections.defaultdict(list)
    for path in source_tree.files(root, ["src", "compressors", "tests"],
                                  ["_test.cc", "_fuzz.cc"]):
        names[path.stem].append(path)
    for pattern in ("*.sh", "*.py"):
        for path in sorted((root / "tests").glob(pattern)):
            if path.stem not in SOURCED:
                names[path.stem].append(path.relative_to(root))
    for path in sorted((root / "tools").glob("check_*.py")):
        names[path.stem].append(path.relative_to(root))
        names[path.stem + "_self_test"].append(path.relative_to(root))
    return names


def ctest_names(build):
    output = subprocess.run(
        ["ctest", "--test-dir", str(build), "-N", "--show-only=json-v1"],
        check=True, capture_output=True, text=True).stdout
    return {test["name"] for test in json.loads(output)["tests"]}


def compare(expected, known):
    complaints = []
    for name, paths in expected.items():
        if name not in known:
            complaints.append("%s: never run, ctest does not know %s"
                              % (paths[0], name))
        if len(paths) > 1:
            complaints.append("%s: two tests have one name: %s" % (
                name, ", ".join(map(str, paths))))
    for name in sorted(known - set(expected)):
        complaints.append("ctest knows %s, which has no file" % name)
    return complaints


def check(root, options):
    if not (options.build / "CTestTestfile.cmake").is_file():
        return ["%s is not a configured build with tests" % options.build]
    return compare(expected_tests(root), ctest_names(options.build))


def self_test(root):
    source_tree.write_tree(root, {
        "src/base/known_test.cc": "", "src/base/forgotten_test.cc": "",
        "src/zpool/twice_test.cc": "", "compressors/twice_test.cc": "",
        "src/zpool/pool_fuzz.cc": "", "tests/functions.sh": "",
        "tests/run.sh": "", "tests/new.sh": "", "tests/support/pages.cc": "",
        "tools/check_x.py": "",
    })
    known = {"known_test", "twice_test", "pool_fuzz", "run", "gone_test",
             "check_x", "check_x_self_test"}
    return source_tree.expect(compare(expected_tests(root), known), [
        "src/base/forgotten_test.cc: never run",
        "tests/new.sh: never run",
        "twice_test: two tests have one name",
        "ctest knows gone_test",
    ])


if __name__ == "__main__":
    source_tree.main("check_tests", check, self_test)
