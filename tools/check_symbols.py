#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads the engine's object files and fails if they need anything but
themselves and a handful of functions that cannot allocate, lock or throw (rule
F1 of docs/design.md). Also fails on constructors of globals and on a system
call outside the one place for them."""
import pathlib
import re
import subprocess
import tempfile

import source_tree

ENGINE_OBJECTS = "CMakeFiles/uzswap_engine.dir"

# Compilers may call the first four for any copy or comparison; the preload has
# its own of these five. Other functions of libc, even strncmp, use vector
# registers (rule F7). libgcc's integer arithmetic does not.
EVERYWHERE = {"memcpy", "memmove", "memset", "memcmp", "strlen",
              "__popcountdi2", "__udivti3", "__umodti3",
              "_GLOBAL_OFFSET_TABLE_",
              "__start_uzswap_syscall_text", "__stop_uzswap_syscall_text"}

# Object (a part of its path): what it alone may need besides.
SOMEWHERE = {
    "compress/registry.cc": {"dlopen", "dlsym", "dlclose", "dlerror"},
    # The tables of the codecs that are linked in.
    "compress/builtin.cc": {"uzswap_compressor_lz4", "uzswap_compressor_zstd",
                            "uzswap_compressor_copy", "uzswap_compressor_lz4hc",
                            "uzswap_compressor_lzo_rle",
                            "uzswap_compressor_deflate",
                            "uzswap_compressor_842"},
    # The linker's name for the load address.
    "base/lockdep.cc": {"__ehdr_start"},
}

# What libuzswap-preload.so may take from libc, with its codecs. The codecs name
# the allocator for uses of theirs that are not ours.
PRELOAD = {"dlopen", "dlsym", "dlclose", "dlerror", "dl_iterate_phdr",
           "malloc", "calloc", "free", "__stack_chk_fail"}

SYSCALL_SECTION = "uzswap_syscall_text"


def tool(*command):
    return subprocess.run(command, check=True, capture_output=True,
                          text=True).stdout


def symbols(path, *options):
    """(defined, undefined) names; C++ ones stay mangled."""
    defined, undefined = set(), set()
    for line in tool("nm", "--format=posix", *options,
                     str(path)).splitlines():
        name, kind = line.split()[:2]
        # A weak name that nobody defines is still a need of the code.
        (undefined if kind in "Uwv" else defined).add(name)
    return defined, undefined


def allowed(path):
    extra = [names for part, names in SOMEWHERE.items() if part in str(path)]
    return EVERYWHERE.union(*extra)


def demangled(name):
    return tool("c++filt", name).strip() if name.startswith("_Z") else name


def constructors(path):
    """True if the object runs code before main."""
    return re.search(r"\.(init_array|ctors)",
                     tool("objdump", "-h", str(path))) is not None


def stray_syscalls(path):
    """Functions with a syscall instruction outside the section for them."""
    section, function, found = "", "", []
    for line in tool("objdump", "-d", "--no-show-raw-insn",
                     str(path)).splitlines():
        if line.startswith("Disassembly of section "):
            section = line.split()[-1].rstrip(":")
        elif match := re.match(r"[0-9a-f]+ <(.*)>:", line):
            function = match.group(1)
        elif re.search(r"\t(syscall|sysenter|int +\$0x80)\b", line) \
                and section != SYSCALL_SECTION:
            found.append(function)
    return found


def check_objects(objects, names):
    complaints = []
    tables = {path: symbols(path) for path in objects}
    own = set().union(*(defined for defined, _ in tables.values()))
    for path, (_, undefined) in tables.items():
        for name in sorted(undefined - own - allowed(path)):
            complaints.append("%s needs %s" % (names(path), demangled(name)))
        if constructors(path):
            complaints.append("%s has a global with a constructor"
                              % names(path))
        for function in stray_syscalls(path):
            complaints.append("%s: system call outside %s, in %s" % (
                names(path), SYSCALL_SECTION, function))
    return complaints


def check_preload(path):
    defined, undefined = symbols(path, "--dynamic", "--without-symbol-versions")
    return ["%s needs %s of libc" % (path.name, name)
            for name in sorted(undefined - PRELOAD)
            if not name.startswith("ZSTD_trace_")] + [
        "%s shows %s to the program" % (path.name, name)
        for name in sorted(defined)]


def check(_root, options):
    folder = options.build / ENGINE_OBJECTS
    objects = sorted(folder.rglob("*.o"))
    # A source that is gone may have left its object behind.
    objects = [path for path in objects
               if (options.root / path.relative_to(folder)).with_suffix("")
               .is_file()]
    if not objects:
        return ["no object files in %s: build first" % folder]
    complaints = check_objects(objects, lambda p: str(p.relative_to(folder)))
    preload = options.build / "libuzswap-preload.so"
    if preload.is_file():
        complaints += check_preload(preload)
    return complaints


BAD = r"""
#include <cstdlib>
#include <vector>
struct Loud { Loud(); int x; };
Loud loud;
Loud::Loud() : x(std::rand()) {}
void *Grow(std::size_t n) { return ::operator new(n); }
int Own();
int Use() { return Own(); }
void Call() { asm volatile("syscall" ::: "memory"); }
"""
GOOD = r"""
#include <cstring>
int Own() { return 1; }
void Copy(void *a, void *b, std::size_t n) { memcpy(a, b, n); }
__attribute__((section("uzswap_syscall_text"))) void Door() {
  asm volatile("syscall" ::: "memory");
}
"""


def self_test(root):
    objects = []
    for name, text in (("bad", BAD), ("good", GOOD)):
        source = pathlib.Path(root) / (name + ".cc")
        source.write_text(text)
        objects.append(source.with_suffix(".o"))
        tool("g++", "-O2", "-fPIC", "-fno-exceptions", "-fno-stack-protector",
             "-c", str(source), "-o", str(objects[-1]))
    library = pathlib.Path(root) / "libuzswap-preload.so"
    tool("g++", "-shared", "-nostartfiles", "-o", str(library),
         *map(str, objects))
    found = check_objects(objects, lambda p: p.name) + check_preload(library)
    return source_tree.expect([c for c in found if "shows" not in c or
                               "Loud" in c], [
        "bad.o needs rand",
        "bad.o needs operator new(unsigned long)",
        "bad.o has a global with a constructor",
        "bad.o: system call outside uzswap_syscall_text, in _Z4Callv",
        "preload.so needs rand of libc",
        "preload.so needs _Znwm of libc",
        "preload.so needs memcpy of libc",
        "preload.so shows _ZN4LoudC1Ev to the program",
        "preload.so shows _ZN4LoudC2Ev to the program",
    ])


if __name__ == "__main__":
    source_tree.main("check_symbols", check, self_test)
