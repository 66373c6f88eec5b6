#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every source file says its licence at the top, no file names a path of the
machine it was written on, and nothing is left for later in the code."""
import re

import source_tree

LICENCE = "SPDX-License-Identifier: Apache-2.0"
LICENSED = (".h", ".cc", ".c", ".S", ".def", ".py", ".sh", ".cmake")
TEXT = LICENSED + (".md", ".txt", ".json", ".map", ".inc", ".yml")
EVERYWHERE = ["."]

# Written so that this file does not match itself.
MACHINE_PATH = re.compile(
    r"(?<![\w.}])/(?:wor[k]/|hom[e]/\w|roo[t]/|User[s]/)")
LATER = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")


def check(root, _options):
    complaints = []
    for path in source_tree.files(root, EVERYWHERE, TEXT):
        text = (root / path).read_text(errors="replace")
        head = "\n".join(text.splitlines()[:3])
        if path.name.endswith(LICENSED) and LICENCE not in head:
            complaints.append("%s: no line \"%s\"" % (path, LICENCE))
        for number, line in enumerate(text.splitlines(), 1):
            if MACHINE_PATH.search(line):
                complaints.append("%s:%d: a path of one machine" % (
                    path, number))
            if LATER.search(line) and path.name.endswith(LICENSED):
                complaints.append("%s:%d: left for later" % (path, number))
    return complaints


def self_test(root):
    spdx = "// " + LICENCE + "\n"
    source_tree.write_tree(root, {
        "src/base/good.cc": spdx + 'Open("/proc/self/statm");  // a/wo' + "rk/b\n",
        "src/base/bad.cc": "int x;\n",
        "docs/bad.md": "see /wor" + "k/main\nand ${HOME}/wo" + "rk/x\n",
        "tools/bad.sh": "#!/bin/sh\n# " + LICENCE + "\ncd /hom" + "e/joe\n",
        "src/base/later.h": spdx + "// TO" + "DO: all of it\n",
    })
    return source_tree.expect(check(root, None), [
        "src/base/bad.cc: no line", "docs/bad.md:1: a path",
        "tools/bad.sh:3: a path", "src/base/later.h:2: left for later"])


if __name__ == "__main__":
    source_tree.main("check_text", check, self_test)
