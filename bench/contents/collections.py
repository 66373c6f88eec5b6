# SPDX-License-Identifier: Apache-2.0
"""A python program with a real heap: the syntax trees of the standard library,
with an index of the names in them."""
import ast
import glob
import os
import sys

size = int(sys.argv[1])
trees = []
index = {}


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * 4096


for path in sorted(glob.glob(os.path.dirname(os.__file__) + "/**/*.py",
                             recursive=True)):
    try:
        with open(path, encoding="utf-8") as f:
            text = f.read()
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        continue  # a test of such files
    trees.append((path, text, tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            index.setdefault(node.id, []).append((path, node.lineno))
    if resident() > size:
        break
print("ready", flush=True)
sys.stdin.read()
