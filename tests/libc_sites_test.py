#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rule by which tools/libc_sites.py chooses windows, on small listings as
objdump prints them; and its behaviour when its inputs are missing."""

import os
import struct
import subprocess
import sys
import tempfile
import unittest

TOOLS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tools")
sys.path.insert(0, TOOLS)

import libc_elf  # noqa: E402
import libc_sites  # noqa: E402

SYSCALL = ("0f 05", "syscall")
MOV = ("b8 6e 00 00 00", "mov    $0x6e,%eax")
XOR = ("31 c0", "xor    %eax,%eax")
CMP = ("48 3d 00 f0 ff ff", "cmp    $0xfffffffffffff000,%rax")
PUSH = ("57", "push   %rdi")
POP = ("5f", "pop    %rdi")
RET = ("c3", "ret")
SIGRETURN = ("48 c7 c0 0f 00 00 00", "mov    $0xf,%rax")
LEA_RIP = ("48 8d 35 dd 78 11 00",
           "lea    0x1178dd(%rip),%rsi        # 1178f0 <x+0x1>")


def listing(*parts, start=0x1000):
    lines, address = ["", "%016x <f>:" % start], start
    for code, text in parts:
        lines.append("%8x:\t%-21s\t%s" % (address, code, text))
        address += len(code.split())
    return libc_sites.parse_objdump(lines)


def windows(*parts, targets=()):
    return libc_sites.choose_windows(listing(*parts), set(targets))[0]


class Windows(unittest.TestCase):
    def check(self, found, address, before, after):
        self.assertEqual(len(found), 1)
        self.assertEqual(
            (found[0].address, found[0].before, found[0].after),
            (address, before, after))
        self.assertEqual(len(found[0].bytes), before + 2 + after)

    def test_takes_the_instruction_that_follows_first(self):
        self.check(windows(MOV, SYSCALL, CMP, RET), 0x1005, 0, 6)

    def test_takes_the_one_before_if_none_follows(self):
        self.check(windows(MOV, SYSCALL, RET), 0x1000, 5, 0)

    def test_takes_no_more_than_needed(self):
        self.check(windows(XOR, XOR, XOR, SYSCALL, RET), 0x1002, 4, 0)

    def test_a_target_at_the_start_or_the_end_does_no_harm(self):
        self.check(windows(MOV, SYSCALL, CMP, RET, targets=[0x1005, 0x100d]),
                   0x1005, 0, 6)

    def test_a_target_inside_forbids_the_window(self):
        # The loop branches to the `syscall`: it cannot follow a moved mov.
        self.assertEqual(windows(MOV, SYSCALL, RET, targets=[0x1005]), [])
        self.check(windows(MOV, SYSCALL, CMP, RET, targets=[0x1007]),
                   0x1000, 5, 0)

    def test_a_target_inside_an_instruction_counts_too(self):
        self.assertEqual(windows(MOV, SYSCALL, RET, targets=[0x1001]), [])

    def test_does_not_move_branches_or_what_names_its_place(self):
        for odd in (RET, LEA_RIP, ("e8 00 00 00 00", "call   100c <f+0xc>"),
                    ("74 03", "je     100a <f+0xa>"), ("f4", "hlt"),
                    ("cc", "int3"), ("f3 0f 1e fa", "endbr64"),
                    ("48 8b 05 00 00 00 00",
                     "mov    0x0(%rip),%rax        # 2000 <x>"),
                    ("06", "(bad)")):
            self.assertEqual(windows(odd, SYSCALL, odd, CMP), [], odd)

    def test_moves_the_stack_pointer_only_if_it_must(self):
        self.check(windows(POP, MOV, SYSCALL, PUSH, PUSH, PUSH), 0x1001, 5, 0)
        self.check(windows(RET, SYSCALL, PUSH, PUSH, PUSH), 0x1001, 0, 3)

    def test_never_touches_the_signal_restorer(self):
        self.assertEqual(windows(SIGRETURN, SYSCALL, CMP), [])

    def test_windows_do_not_overlap(self):
        self.check(windows(RET, SYSCALL, MOV, SYSCALL, RET), 0x1001, 0, 5)
        both = windows(RET, SYSCALL, MOV, SYSCALL, CMP)
        self.assertEqual([(w.address, len(w.bytes)) for w in both],
                         [(0x1001, 7), (0x1008, 8)])

    def test_a_gap_in_the_listing_ends_a_window(self):
        parts = listing(MOV, SYSCALL) + listing(CMP, start=0x1010)
        found, count = libc_sites.choose_windows(parts, set())
        self.check(found, 0x1000, 5, 0)
        self.assertEqual(count, 1)
        parts = listing(SYSCALL) + listing(CMP, start=0x1010)
        self.assertEqual(libc_sites.choose_windows(parts, set()), ([], 1))


class Targets(unittest.TestCase):
    def test_branches_with_prefixes_and_hints_are_seen(self):
        branches, taken = libc_sites.code_references(listing(
            ("74 03", "je     1005 <f+0x5>"),
            ("2e 74 03", "je,pn  1008 <f+0x8>"),
            ("f2 e9 00 00 00 00", "bnd jmp 100b <f+0xb>"),
            ("e2 fe", "loop   1020 <f+0x20>"),
            ("c7 f8 00 00 00 00", "xbegin 1030"),
            ("ff e0", "jmp    *%rax"), LEA_RIP))
        self.assertEqual(branches, {0x1005, 0x1008, 0x100b, 0x1020, 0x1030})
        self.assertEqual(taken, {0x1178f0})

    def test_functions_that_jump_blindly_are_not_trusted(self):
        blind = listing(("ff e0", "jmp    *%rax"), SYSCALL, CMP)
        table = listing(LEA_RIP, ("3e ff e0", "notrack jmp *%rax"), SYSCALL,
                        start=0x2000)
        starts = [0x1000, 0x2000, 0x2005]
        trusted = libc_sites.trusted_functions(
            blind + table, starts[:2], lambda address: address == 0x1178f0)
        self.assertFalse(trusted(0x1002))
        self.assertTrue(trusted(0x2007))
        # A function that starts within an instruction: out of step.
        trusted = libc_sites.trusted_functions(
            blind + table, starts, lambda address: True)
        self.assertFalse(trusted(0x2007))

    def test_jump_tables_are_read_up_to_what_leads_elsewhere(self):
        elf = libc_elf.Elf.__new__(libc_elf.Elf)

        def section(start, data):
            made = libc_elf.Section.__new__(libc_elf.Section)
            made.start, made.bytes, made.end = start, data, start + len(data)
            return made

        elf.code = [section(0x1000, bytes(0x100))]
        elf.constants = [section(
            0x2000, struct.pack("<4i", -0x1000, -0xff0, 7, -0x1000))]
        self.assertEqual(list(elf.jump_table(0x2000)), [0x1000, 0x1010])
        self.assertEqual(list(elf.jump_table(0x2008)), [])
        self.assertEqual(list(elf.jump_table(0x3000)), [])


class Program(unittest.TestCase):
    def run_tool(self, *arguments):
        return subprocess.run(
            [sys.executable, "-B", os.path.join(TOOLS, "libc_sites.py"),
             *arguments], capture_output=True, text=True)

    def test_missing_inputs_give_an_empty_table_and_a_warning(self):
        with tempfile.TemporaryDirectory() as folder:
            output = os.path.join(folder, "sites.inc")
            for extra in (["--libc", "/does/not/exist"],
                          ["--libc", __file__],
                          ["--objdump", "/does/not/exist"]):
                result = self.run_tool("--output", output, *extra)
                self.assertEqual(result.returncode, 0)
                self.assertIn("Warning", result.stderr)
                with open(output) as file:
                    self.assertIn("kLibcTables;", file.read())

    def test_the_table_of_one_libc_is_always_the_same(self):
        with tempfile.TemporaryDirectory() as folder:
            texts = set()
            for seed in "1", "2":
                output = os.path.join(folder, seed)
                os.environ["PYTHONHASHSEED"] = seed
                self.run_tool("--output", output)
                with open(output) as file:
                    texts.add(file.read())
            self.assertEqual(len(texts), 1)


if __name__ == "__main__":
    unittest.main()
