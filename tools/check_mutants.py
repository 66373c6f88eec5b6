#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each guard that tools/mutants.py takes away is in the tree, once: running
them takes long, so a change of the code would go unnoticed."""
import collections

import mutants_table
import source_tree

Guard = collections.namedtuple("Guard", "bug without file old")


def complaints(root, guards):
    found = []
    for guard in guards:
        path = root / guard.file
        count = path.read_text().count(guard.old) if path.is_file() else 0
        if count != 1:
            found.append("%s, \"%s\": its text is %d times in %s" % (
                guard.bug, guard.without, count, guard.file))
    return found


def check(root, _):
    return complaints(root, mutants_table.MUTANTS)


def self_test(root):
    source_tree.write_tree(root, {"a.cc": "one two two\n"})
    return source_tree.expect(complaints(root, [
        Guard("B1", "first", "a.cc", "one"), Guard("B2", "second", "a.cc", "two"),
        Guard("B3", "third", "a.cc", "three"), Guard("B4", "fourth", "b.cc", "x"),
    ]), ["B2", "B3", "B4"])


if __name__ == "__main__":
    source_tree.main("check_mutants", check, self_test)
