#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files of at most 500 lines, functions of at most 70, lines of at most 80
columns, in C++. Functions are found by their braces, which is exact enough for
code that clang-format has laid out."""
import re

import source_tree

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 70
MAX_COLUMNS = 80

# Comments, strings (raw ones too) and characters; a ' between digits separates
# them. One match is replaced by its line ends, so that line numbers stay.
NOT_CODE = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"([^(\s]*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'", re.DOTALL)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
ACCESS = ("public", "protected", "private")
CONTAINER = re.compile(r"\b(namespace|class|struct|union|enum|extern)\b")


def only_lines(match):
    return "\n" * match.group(0).count("\n")


def functions(text):
    """(name, first line, lines) of each function body outside functions."""
    code = DIRECTIVE.sub(only_lines, NOT_CODE.sub(only_lines, text))
    stack = []       # of (is a function, name, first line)
    head = ""        # code since the last ; { or }
    line = 1
    head_line = 1
    for c in code:
        if c == "\n":
            line += 1
        if c == "{":
            before = head.strip()
            inside = any(kind for kind, _, _ in stack)
            is_function = not inside and ")" in before and \
                not before.endswith(("=", ",", "(")) and \
                not CONTAINER.match(before)
            name = re.search(r"([\w~:]+|\boperator\W+)\s*\(", before)
            stack.append((is_function, name.group(1) if name else before,
                          head_line))
        elif c == "}" and stack:
            is_function, name, first = stack.pop()
            if is_function:
                yield name, first, line - first + 1
        if c in ";{}" or c == ":" and head.strip() in ACCESS:
            head = ""
        else:
            if not head.strip():
                head_line = line
            head += c


def check(root, _options):
    complaints = []
    for path in source_tree.files(
            root, ["src", "include", "compressors", "tests", "bench"],
            [".h", ".cc", ".c"]):
        text = (root / path).read_text()
        lines = text.splitlines()
        if len(lines) > MAX_FILE_LINES:
            complaints.append("%s: %d lines" % (path, len(lines)))
        for number, line in enumerate(lines, 1):
            if len(line) > MAX_COLUMNS:
                complaints.append("%s:%d: %d columns" % (path, number,
                                                         len(line)))
        for name, first, length in functions(text):
            if length > MAX_FUNCTION_LINES:
                complaints.append("%s:%d: %s has %d lines" % (
                    path, first, name, length))
    return complaints


def self_test(root):
    call = "  Use('{', \"{\", 1'000);  // {\n"
    source_tree.write_tree(root, {
        "src/base/long.cc": "// line\n" * 501,
        "src/base/wide.h": "// " + "x" * 78 + "\n// " + "ä" * 77 + "\n",
        "src/base/f.cc":
            "namespace a {\nnamespace {\nclass C : public B {\n"
            " public:\n  int Fits(int x) const {\n" + call * 68 + "  }\n};\n}\n"
            "const int table[] = {\n" + "  1,\n" * 90 + "};\n"
            "static_assert(sizeof(int) == 4);\n"
            "int TooLong(int a,\n            int b) {\n  if (a) {\n" + call * 69 +
            "  }\n}\n}\n",
    })
    return source_tree.expect(check(root, None), [
        "src/base/long.cc: 501 lines",
        "src/base/wide.h:1: 81 columns",
        "src/base/f.cc:170: TooLong has 74 lines",
    ])


if __name__ == "__main__":
    source_tree.main("check_sizes", check, self_test)
