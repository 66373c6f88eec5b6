#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads every #include and fails on one that the order of the folders forbids
(src/README.md), or on a system header that the engine must do without (rules F1
and F5 of docs/design.md). The tables below are that order, as data."""
import re

import source_tree

# Folder under src/: the folders that it may include from besides its own.
EDGES = {
    "base": [],
    "device": ["base"],
    "zpool": ["base"],
    "compress": ["base", "uzswap"],
    "zswap": ["device", "zpool", "compress", "base", "uzswap"],
    "pager": ["zswap", "base", "uzswap"],
    "api": ["pager", "zswap", "device", "compress", "base", "uzswap"],
    "preload": ["base", "uzswap"],
    "nbd": ["base", "uzswap"],
    "cli": ["base", "uzswap"],
}
ENGINE = ["base", "device", "zpool", "compress", "zswap", "pager", "api"]

# They allocate, lock, throw, do stdio, or use floating point.
FORBIDDEN = set("""
    any cassert cfenv chrono cmath complex condition_variable cstdio cstdlib
    deque exception filesystem forward_list fstream functional future iomanip
    ios iostream istream list locale map math.h memory memory_resource mutex
    ostream pthread.h queue random regex semaphore semaphore.h set shared_mutex
    sstream stack stdexcept stdio.h stdlib.h string system_error thread
    unordered_map unordered_set valarray vector assert.h malloc.h
    immintrin.h emmintrin.h x86intrin.h
    """.split())

# Header: where alone it may be included (besides in tests).
ONLY_IN = {
    "linux/userfaultfd.h": ["src/pager/", "src/cli/preflight.cc"],
    "dlfcn.h": ["src/compress/registry.cc", "src/cli/layout.cc",
                "src/cli/nbd_check.cc",
                "src/preload/"],
    "linux/futex.h": ["src/base/os.cc", "src/preload/",
                      "src/cli/tree_limits.cc"],
}

# Made by the build.
GENERATED = {"libc_sites.inc"}

# What a public header may include of the system.
PUBLIC_SYSTEM = {"stddef.h", "stdint.h"}

INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.MULTILINE)


def folder_of(header):
    return header.split("/")[0] if "/" in header else ""


def complain_own(path, header):
    """An #include of ours, or None if it is allowed."""
    top = path.parts[0]
    if header in GENERATED or top in ("tests", "bench"):
        return None
    if folder_of(header) == "":
        # Supports of the tests of tests/ lie beside them; a compressor is built
        # outside of the tree too, so what it shares lies beside it as well.
        beside = source_tree.is_test(path) or top == "compressors"
        return None if beside else "write the folder too: \"%s\"" % header
    if folder_of(header) == "support":
        return None if source_tree.is_test(path) else \
            "only tests include \"%s\"" % header
    if top == "include":
        allowed = ["uzswap"]
    elif top == "compressors":
        if header == "uzswap/compressor.h" or source_tree.is_test(path):
            return None
        allowed = []
    else:
        allowed = [path.parts[1]] + EDGES.get(path.parts[1], [])
    if folder_of(header) in allowed:
        return None
    return "may not include \"%s\" (allowed: %s)" % (
        header, ", ".join(allowed) or "uzswap/compressor.h alone")


def complain_system(path, header):
    """An #include of the system's, or None if it is allowed."""
    if source_tree.is_test(path):
        return None
    if path.parts[0] == "include" and header not in PUBLIC_SYSTEM:
        return "a public header may not include <%s>" % header
    inside = path.parts[1] if path.parts[0] == "src" else ""
    if header in FORBIDDEN and inside in ENGINE + ["preload"]:
        return "<%s> is not for the engine" % header
    where = ONLY_IN.get(header)
    if where and not any(str(path).startswith(w) for w in where):
        return "<%s> belongs to %s only" % (header, " and ".join(where))
    return None


def check(root, _options):
    complaints = []
    for path in source_tree.files(root, ["src", "include", "compressors"],
                                  [".h", ".cc", ".c", ".S", ".def"]):
        if path.parts[0] == "src" and path.parts[1] not in EDGES:
            complaints.append("%s: a folder without a place in the order"
                              % path)
            continue
        text = (root / path).read_text()
        for kind, header in INCLUDE.findall(text):
            ours = kind == '"' or folder_of(header) in ["uzswap", *EDGES]
            complaint = (complain_own if ours else complain_system)(
                path, header)
            if complaint:
                complaints.append("%s: %s" % (path, complaint))
    return complaints


def self_test(root):
    """Every line marked 'bad' must be found, every other must not."""
    source_tree.write_tree(root, {
        "src/base/bad.cc": '#include "zswap/zswap.h"\n#include <vector>\n',
        "src/zpool/bad.h": '#include "device/device.h"\n'
                           '#include <linux/futex.h>\n',
        "src/zpool/bad_test.cc": '#include <vector>\n'
                                 '#include "support/pages.h"\n'
                                 '#include "pager/pager.h"\n',
        "src/pager/bad.cc": '#  include <dlfcn.h>\n#include "zpool/zpool.h"\n',
        "src/pager/good.cc": '#include <linux/userfaultfd.h>\n'
                             '#include "zswap/zswap.h"\n#include <span>\n',
        "src/preload/bad.cc": '#include "pager/pager.h"\n'
                              '#include <stdio.h>\n',
        "src/cli/good.cc": '#include <vector>\n#include "base/page.h"\n'
                           '#include <uzswap/report.h>\n',
        "src/cli/bad.cc": '#include <linux/userfaultfd.h>\n'
                          '#include "local.h"\n#include "support/pages.h"\n',
        "src/new/bad.cc": "\n",
        "include/uzswap/bad.h": '#include <string.h>\n'
                                '#include "base/page.h"\n'
                                '#include <stdint.h>\n',
        "compressors/bad.cc": '#include "base/page.h"\n'
                              '#include <uzswap/uzswap.h>\n'
                              '#include <uzswap/compressor.h>\n'
                              '#include <lz4.h>\n',
    })
    return source_tree.expect(check(root, None), [
        'base/bad.cc: may not include "zswap/zswap.h"',
        "base/bad.cc: <vector>",
        'zpool/bad.h: may not include "device/device.h"',
        "zpool/bad.h: <linux/futex.h>",
        'zpool/bad_test.cc: may not include "pager/pager.h"',
        "pager/bad.cc: <dlfcn.h>",
        'pager/bad.cc: may not include "zpool/zpool.h"',
        'preload/bad.cc: may not include "pager/pager.h"',
        "preload/bad.cc: <stdio.h>",
        "cli/bad.cc: <linux/userfaultfd.h>",
        "cli/bad.cc: write the folder too",
        "cli/bad.cc: only tests include",
        "new/bad.cc: a folder without a place",
        "include/uzswap/bad.h: a public header may not include <string.h>",
        'include/uzswap/bad.h: may not include "base/page.h"',
        'compressors/bad.cc: may not include "base/page.h"',
        'compressors/bad.cc: may not include "uzswap/uzswap.h"',
    ])


if __name__ == "__main__":
    source_tree.main("check_layers", check, self_test)
