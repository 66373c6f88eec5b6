#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lists the `syscall` instructions of libc that can be replaced by a jump.

A jump takes 5 bytes and `syscall` has 2, so whole neighbouring instructions
move to a stub with it: together they are the window. A window is sound if its
instructions run the same anywhere and nothing jumps strictly inside it. The
result is a C++ table (struct PatchSite of src/preload/stub.h) that is used at
run time only for a libc of the same build-id, and only where the bytes agree.
"""

import argparse
import bisect
import os
import re
import subprocess
import sys
from collections import namedtuple

from libc_elf import Elf

JUMP_BYTES = 5
# sizeof(PatchSite::bytes), and what a stub has room for.
WINDOW_BYTES_MAX = 25
MOVED_MAX = 4

PREFIXES = re.compile(r"^(?:(?:bnd|notrack|lock|repn?z?|data16|addr32|"
                      r"rex[.\w]*|[cdefgs]s)\s+)+(?=\S)")
BRANCH = re.compile(r"^(?:j\w+|call\w?|loop\w*|xbegin)(?:,p[nt])?\s+"
                    r"([0-9a-f]+)\b")
INDIRECT_JUMP = re.compile(r"^jmp\w?\s+\*%")
COMMENT = re.compile(r"# ([0-9a-f]+)\b")
# Instructions known to do the same at any address. What is not listed is not
# moved; that a window was missed costs time, a wrong one costs correctness.
MOVABLE = re.compile(
    r"^(?:mov(?:abs|s[bwl][wlq]|z[bw][wlq])?[bwlq]?|cmov\w+|set\w+|nop[wl]?|"
    r"(?:lea|add|sub|and|or|xor|cmp|test|neg|not|inc|dec|sh[lr]|sa[lr])"
    r"[bwlq]?|cltq|cltd|cqto|pxor|push|pop)$")
# `mov $15` to eax or rax: rt_sigreturn. Unwinders know signal frames by these
# bytes, and the kernel takes the frame from rsp.
SIGRETURN = (bytes.fromhex("48c7c00f000000"), bytes.fromhex("b80f000000"))

Instruction = namedtuple("Instruction", "address bytes text")
Window = namedtuple("Window", "address bytes before after")


def parse_objdump(lines):
    """Instructions of `objdump -d -w` in its order."""
    result = []
    for line in lines:
        fields = line.rstrip("\n").split("\t")
        if len(fields) >= 2 and fields[0].endswith(":"):
            result.append(Instruction(
                int(fields[0][:-1], 16), bytes.fromhex(fields[1]),
                fields[2].strip() if len(fields) > 2 else ""))
    return result


def is_movable(instruction):
    text = instruction.text
    return ("%rip" not in text and "#" not in text
            and MOVABLE.match(text.split(None, 1)[0] if text else "")
            is not None)


def moves_stack(instruction):
    """Whether rsp changes: allowed, but unwinding is simpler without."""
    words = instruction.text.split()
    return words[0] in ("push", "pop") or (
        words[0][:3] not in ("cmp", "tes", "nop")
        and re.search(r"%[re]?spl?$", words[-1]) is not None)


def code_references(instructions):
    """(addresses branched to, addresses taken rip-relatively)."""
    branches, taken = set(), set()
    for instruction in instructions:
        text = PREFIXES.sub("", instruction.text)
        branch = BRANCH.match(text)
        if branch:
            branches.add(int(branch.group(1), 16))
        comment = COMMENT.search(text)
        if comment:
            taken.add(int(comment.group(1), 16))
    return branches, taken


def run_of_movable(instructions, index, step):
    """Up to MOVED_MAX movable instructions adjacent to `index`, nearest
    first."""
    result = []
    here = index
    while len(result) < MOVED_MAX:
        here += step
        if not 0 <= here < len(instructions):
            break
        first = instructions[min(here, here - step)]
        second = instructions[max(here, here - step)]
        if (first.address + len(first.bytes) != second.address
                or not is_movable(instructions[here])):
            break
        result.append(instructions[here])
    return result


def choose_window(instructions, index, targets, floor):
    """The best window around the `syscall` at `index`, or None. Best: rsp
    untouched, then few instructions, then those that follow. `floor` is the
    end of the window before it."""
    before = run_of_movable(instructions, index, -1)
    after = run_of_movable(instructions, index, 1)
    if before and any(before[0].bytes == b for b in SIGRETURN):
        return None
    best = None
    for b in range(len(before) + 1):
        for a in range(len(after) + 1):
            moved = before[:b][::-1], after[:a]
            parts = [*moved[0], instructions[index], *moved[1]]
            code = b"".join(p.bytes for p in parts)
            start, end = parts[0].address, parts[0].address + len(code)
            if (not JUMP_BYTES <= len(code) <= WINDOW_BYTES_MAX
                    or start < floor
                    or any(t in targets for t in range(start + 1, end))):
                continue
            cost = (sum(map(moves_stack, moved[0] + moved[1])), b + a, b)
            if best is None or cost < best[0]:
                best = cost, Window(start, code,
                                    sum(len(p.bytes) for p in moved[0]),
                                    sum(len(p.bytes) for p in moved[1]))
    return best[1] if best else None


def choose_windows(instructions, targets, trusted=lambda address: True):
    """(windows in address order, number of syscall instructions)."""
    windows, found, floor = [], 0, 0
    for index, instruction in enumerate(instructions):
        if instruction.bytes != b"\x0f\x05":
            continue
        found += 1
        if not trusted(instruction.address):
            continue
        window = choose_window(instructions, index, targets, floor)
        if window:
            windows.append(window)
            floor = window.address + len(window.bytes)
    return windows, found


def all_targets(elf, instructions, functions):
    branches, taken = code_references(instructions)
    targets = branches | taken | set(elf.symbols())
    targets.update(elf.relocated_pointers())
    for address in taken:
        targets.update(elf.jump_table(address))
    for start, pads in functions:
        targets.update((start, *pads))
    return targets


def trusted_functions(instructions, starts, is_table):
    """A test for addresses: whether the function around it is understood. Its
    start must be an instruction in the disassembly too (else that may be out
    of step), and a function that jumps through a register must take the
    address of a jump table (else it may be a computed goto whose offsets count
    from a label in the code, which cannot be found)."""
    starts = sorted(starts)
    decoded, jumps, tables = set(), set(), set()
    for instruction in instructions:
        function = bisect.bisect(starts, instruction.address) - 1
        text = PREFIXES.sub("", instruction.text)
        comment = COMMENT.search(text)
        if function >= 0 and starts[function] == instruction.address:
            decoded.add(function)
        if INDIRECT_JUMP.match(text):
            jumps.add(function)
        elif comment and is_table(int(comment.group(1), 16)):
            tables.add(function)
    good = decoded - (jumps - tables)
    return lambda address: bisect.bisect(starts, address) - 1 in good


def analyse(path, objdump):
    """(build-id, windows, number of syscall instructions) of one libc."""
    with open(path, "rb") as file:
        elf = Elf(file.read())
    build_id = elf.build_id()
    listing = subprocess.run([objdump, "-d", "-w", path], check=True,
                             capture_output=True, text=True,
                             env={**os.environ, "LC_ALL": "C"}).stdout
    instructions = parse_objdump(listing.splitlines())
    functions = elf.functions()
    trusted = trusted_functions(
        instructions, [start for start, _ in functions],
        lambda address: any(True for _ in elf.jump_table(address)))
    windows, found = choose_windows(
        instructions, all_targets(elf, instructions, functions), trusted)
    return build_id, windows, found


def table_text(number, build_id, windows):
    lines = ["constexpr uint8_t kBuildId%d[] = {%s};" % (
        number, ", ".join("0x%02x" % b for b in build_id)),
        "constexpr PatchSite kSites%d[] = {" % number]
    for w in windows:
        lines.append("    {0x%x, %d, %d, %d, {%s}}," % (
            w.address, len(w.bytes), w.before, w.after,
            ", ".join("0x%02x" % b for b in w.bytes)))
    lines.append("};")
    return lines


def output_text(tables):
    lines = ["// Made by tools/libc_sites.py: included by "
             "src/preload/patch.cc."]
    for number, (build_id, windows) in enumerate(tables):
        lines += table_text(number, build_id, windows)
    if tables:
        lines.append("constexpr SiteTable kTables[] = {")
        lines += ["    {kBuildId%d, kSites%d}," % (n, n)
                  for n in range(len(tables))]
        lines.append("};")
        lines.append("constexpr std::span<const SiteTable> kLibcTables = "
                     "kTables;")
    else:
        lines.append("constexpr std::span<const SiteTable> kLibcTables;")
    return "\n".join(lines) + "\n"


def system_libc():
    """The libc that the dynamic linker gives to this very program."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            path = line.rstrip("\n").partition("/")[2]
            if os.path.basename(path).startswith(("libc.so", "libc-2")):
                return "/" + path
    raise ValueError("libc not found; name it with --libc")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--libc", action="append", default=[])
    parser.add_argument("--objdump", default="objdump")
    parser.add_argument("--output")
    parser.add_argument("--print-libc", action="store_true",
                        help="print the path of the system's libc and stop")
    options = parser.parse_args()
    tables, failures = {}, []
    try:
        paths = options.libc or [system_libc()]
    except (OSError, ValueError) as error:
        paths, failures = [], [str(error)]
    if options.print_libc:
        print("\n".join(paths))
        return 0 if paths else 1
    for path in paths:
        try:
            build_id, windows, found = analyse(path, options.objdump)
        except (OSError, ValueError, KeyError, IndexError, StopIteration,
                subprocess.CalledProcessError) as error:
            failures.append("%s: %s" % (path, error))
            continue
        if windows:
            tables[build_id] = windows
        print("%s (build-id %s): %d syscall instructions, %d patchable"
              % (path, build_id.hex(), found, len(windows)))
    # A program runs without the table too, only slower: warn and go on.
    for failure in failures:
        print("CMake Warning: libc_sites.py: %s; its system calls will be "
              "dispatched one by one" % failure, file=sys.stderr)
    text = output_text(sorted(tables.items()))
    if options.output:
        with open(options.output, "w") as file:
            file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
