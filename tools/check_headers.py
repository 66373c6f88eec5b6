#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every header compiles alone, with warnings as errors; the public ones also as
C, because programs in other languages read them. (Headers in tests/programs are
C alone.) What a source file includes first has been compiled alone by the build
and is not again; tests do not count, a precompiled header comes before theirs.
"""
import concurrent.futures
import os
import re
import subprocess

import source_tree

WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wconversion",
            "-Wno-sign-conversion"]


def compile_alone(root, build, header, language, standard):
    """None, or the first error."""
    compiler = "g++" if language == "c++" else "gcc"
    # Included from a line of input, so that #pragma once and the like do not
    # complain about being in the main file.
    result = subprocess.run(
        [compiler, "-x", language, "-std=" + standard, "-fsyntax-only",
         *WARNINGS, "-I", root / "include", "-I", root / "src",
         "-I", root / "tests", "-I", build / "generated", "-"],
        input='#include "%s"\n' % (root / header), capture_output=True,
        text=True, check=False)
    if result.returncode == 0:
        return None
    errors = [line for line in result.stderr.splitlines() if "error:" in line]
    return "%s as %s: %s" % (header, language, (errors or ["fails"])[0])


def included_first(root):
    """What the build compiles alone."""
    found = set()
    for source in source_tree.files(root, ["src"], [".cc"]):
        text = (root / source).read_text()
        first = re.search(r'^#include "(.*)"$|^#include', text, re.M)
        if first and first[1] and not source_tree.is_test(source):
            found.add("src/" + first[1])
    return found


def check(root, options):
    jobs = []
    built = included_first(root)
    for header in source_tree.files(root, ["include", "src", "tests"], [".h"]):
        in_c = header.parts[:2] == ("tests", "programs")
        if not in_c and str(header) not in built:
            jobs.append((header, "c++", "gnu++20"))
        if in_c or header.parts[0] == "include":
            jobs.append((header, "c", "gnu11" if in_c else "c11"))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(
            lambda job: compile_alone(root, options.build, *job), jobs)
        return [result for result in results if result]


def self_test(root):
    source_tree.write_tree(root, {
        "src/base/good.h": "#include <cstdint>\ninline uint8_t One() "
                           "{ return 1; }\n",
        "src/base/bad.h": "inline std::size_t Two() { return 2; }\n",
        "src/base/built.h": "std::size_t Four();\n",
        "src/base/built.cc": "#include \"base/built.h\"\n",
        "src/base/late.h": "std::size_t Five();\n",
        "src/base/late.cc": "#include <cstddef>\n#include \"base/late.h\"\n",
        "src/base/tested.h": "std::size_t Six();\n",
        "src/base/tested_test.cc": "#include \"base/tested.h\"\n",
        "include/uzswap/good.h": "#include <stdint.h>\nuint8_t f(void);\n",
        "include/uzswap/bad.h": "#include <stdint.h>\n"
                                "namespace n { uint8_t f(); }\n",
    })

    class Options:
        build = root / "build"
    return source_tree.expect(check(root, Options), [
        "src/base/bad.h as c++", "src/base/late.h as c++",
        "src/base/tested.h as c++", "include/uzswap/bad.h as c:"])


if __name__ == "__main__":
    source_tree.main("check_headers", check, self_test)
