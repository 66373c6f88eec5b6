#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each guard that tools/mutants.py takes away is in the tree, once, and so is a
test that must notice: running them takes long, so a change would go unseen."""
import collections
import fnmatch
import re

import mutants_table
import source_tree

Guard = collections.namedtuple("Guard", "bug without file old test")


def test_names(root):
    names = []
    for path in source_tree.files(root, ["src", "compressors", "tests"],
                                  ["_test.cc"]):
        names += [".".join(parts) for parts in re.findall(
            r"^(?:TYPED_)?TEST(?:_[FP])?\((\w+),\s*(\w+)\)",
            (root / path).read_text(), re.M)]
    return names


def complaints(root, guards):
    found = []
    names = test_names(root)
    for guard in guards:
        path = root / guard.file
        count = path.read_text().count(guard.old) if path.is_file() else 0
        if count != 1:
            found.append("%s, \"%s\": its text is %d times in %s" % (
                guard.bug, guard.without, count, guard.file))
        if not any(fnmatch.fnmatchcase(name, "*" + guard.test + "*")
                   for name in names):
            found.append("%s, \"%s\": no test is called %s" % (
                guard.bug, guard.without, guard.test))
    return found


def check(root, _):
    return complaints(root, mutants_table.MUTANTS)


def self_test(root):
    source_tree.write_tree(root, {
        "a.cc": "one two two\n",
        "src/a_test.cc": "TEST_F(Some, Thing) {}\n"})
    return source_tree.expect(complaints(root, [
        Guard("B1", "first", "a.cc", "one", "Some.Th*"),
        Guard("B2", "second", "a.cc", "two", "*Thing"),
        Guard("B3", "third", "a.cc", "three", "*Thing*"),
        Guard("B4", "fourth", "b.cc", "x", "*Thing*"),
        Guard("B5", "fifth", "a.cc", "one", "*Other*"),
    ]), ["B2", "B3", "B4", "B5"])


if __name__ == "__main__":
    source_tree.main("check_mutants", check, self_test)
