# SPDX-License-Identifier: Apache-2.0
"""What libc_sites.py must know of an ELF file besides its instructions: the
build-id, and every address that something other than a direct branch may jump
to (symbols, relocated pointers, jump tables, functions and landing pads of the
exception tables). Addresses are virtual addresses in the object."""

import struct

SHT_SYMTAB, SHT_RELA, SHT_NOTE, SHT_NOBITS, SHT_DYNSYM, SHT_RELR = (
    2, 4, 7, 8, 11, 19)
SHF_WRITE, SHF_ALLOC, SHF_EXEC = 1, 2, 4
R_RELATIVE, R_IRELATIVE = 8, 37


class Section:
    def __init__(self, name, header, data):
        self.name = name
        (_, self.kind, self.flags, self.start, offset, self.size, _, _, _,
         self.entry_size) = header
        self.bytes = (b"" if self.kind == SHT_NOBITS
                      else data[offset:offset + self.size])
        self.end = self.start + self.size

    def holds(self, address, size=1):
        return self.start <= address and address + size <= self.end


class Elf:
    """A 64-bit little-endian x86-64 object; anything else is a ValueError."""

    def __init__(self, data):
        if data[:6] != b"\x7fELF\x02\x01" or data[18:20] != b"\x3e\x00":
            raise ValueError("not an x86-64 ELF file")
        table, = struct.unpack_from("<Q", data, 40)
        size, count, names = struct.unpack_from("<3H", data, 58)
        headers = [struct.unpack_from("<2I4Q2I2Q", data, table + i * size)
                   for i in range(count)]
        strings = data[headers[names][4]:][:headers[names][5]]
        self.sections = [
            Section(strings[h[0]:strings.index(b"\0", h[0])].decode(), h, data)
            for h in headers]
        alloc = [s for s in self.sections if s.flags & SHF_ALLOC]
        self.code = [s for s in alloc if s.flags & SHF_EXEC]
        self.constants = [s for s in alloc
                          if not s.flags & (SHF_EXEC | SHF_WRITE)]
        self._alloc = alloc

    def is_code(self, address):
        return any(s.holds(address) for s in self.code)

    def section(self, name):
        return next((s for s in self.sections if s.name == name), None)

    def read(self, address, size):
        """Bytes at an address of the loaded object, or None."""
        for s in self._alloc:
            if s.bytes and s.holds(address, size):
                return s.bytes[address - s.start:][:size]
        return None

    def build_id(self):
        for s in self.sections:
            position = 0
            while s.kind == SHT_NOTE and position + 12 <= len(s.bytes):
                name, size, kind = struct.unpack_from("<3I", s.bytes, position)
                start = position + 12 + (name + 3 & ~3)
                if kind == 3 and s.bytes[position + 12:][:name] == b"GNU\0":
                    return s.bytes[start:start + size]
                position = start + (size + 3 & ~3)
        raise ValueError("no build-id")

    def symbols(self):
        for s in self.sections:
            if s.kind in (SHT_SYMTAB, SHT_DYNSYM):
                for at in range(0, len(s.bytes), 24):
                    yield struct.unpack_from("<Q", s.bytes, at + 8)[0]

    def relocated_pointers(self):
        for s in self.sections:
            if s.kind == SHT_RELA:
                for _, info, addend in struct.iter_unpack("<QQq", s.bytes):
                    if info & 0xFFFFFFFF in (R_RELATIVE, R_IRELATIVE):
                        yield addend
            elif s.kind == SHT_RELR:
                for place in _relr_places(s.bytes):
                    word = self.read(place, 8)
                    if word:
                        yield struct.unpack("<Q", word)[0]

    def jump_table(self, base):
        """Targets of the table of 32-bit offsets at `base`, if it is one: all
        entries up to the first that does not lead to code. A superset: other
        constants may look like a table."""
        for s in self.constants:
            if s.holds(base, 4):
                offsets = s.bytes[base - s.start:]
                for (offset,) in struct.iter_unpack(
                        "<i", offsets[:len(offsets) & ~3]):
                    if not self.is_code(base + offset):
                        return
                    yield base + offset

    def functions(self):
        """(start, landing pads) of each function of .eh_frame."""
        frame = self.section(".eh_frame")
        return _functions(self, frame) if frame else []


def _relr_places(data):
    place = 0
    for (word,) in struct.iter_unpack("<Q", data):
        if not word & 1:
            yield word
            place = word + 8
        else:
            for bit in range(1, 64):
                if word >> bit & 1:
                    yield place + 8 * (bit - 1)
            place += 8 * 63


class _Reader:
    """Reads DWARF values from a section, knowing its address."""

    FORMATS = {0: "<Q", 2: "<H", 3: "<I", 4: "<Q", 10: "<h", 11: "<i",
               12: "<q"}

    def __init__(self, section, address):
        self.section, self.at = section, address - section.start

    def number(self, fmt):
        value, = struct.unpack_from(fmt, self.section.bytes, self.at)
        self.at += struct.calcsize(fmt)
        return value

    def uleb(self):
        value = shift = 0
        while True:
            byte = self.number("<B")
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def string(self):
        end = self.section.bytes.index(b"\0", self.at)
        text = self.section.bytes[self.at:end].decode()
        self.at = end + 1
        return text

    def encoded(self, encoding):
        """A DW_EH_PE value; pc-relative ones become absolute. 0 stays 0."""
        place = self.section.start + self.at
        if encoding & 15 == 1:
            value = self.uleb()
        elif encoding & 15 in self.FORMATS:
            value = self.number(self.FORMATS[encoding & 15])
        else:
            raise ValueError("pointer encoding %#x" % encoding)
        if encoding & 0x70 not in (0, 0x10):
            raise ValueError("pointer encoding %#x" % encoding)
        return value + place if value and encoding & 0x70 else value


def _cie(reader):
    """(encoding of code pointers, of LSDA pointers or None)."""
    version = reader.number("<B")
    augmentation = reader.string()
    reader.uleb()
    reader.uleb()  # signed, but only skipped
    reader.number("<B") if version == 1 else reader.uleb()
    code, lsda = 0, None
    if augmentation.startswith("z"):
        reader.uleb()
        for letter in augmentation[1:]:
            if letter == "R":
                code = reader.number("<B")
            elif letter == "L":
                lsda = reader.number("<B")
            elif letter == "P":
                reader.encoded(reader.number("<B"))
            elif letter not in "SB":
                raise ValueError("augmentation " + augmentation)
    elif augmentation:
        raise ValueError("augmentation " + augmentation)
    return code, lsda


def _functions(elf, frame):
    result, cies = [], {}
    at = frame.start
    while at + 4 <= frame.end:
        reader = _Reader(frame, at)
        length = reader.number("<I")
        if length == 0:
            break
        if length == 0xFFFFFFFF:
            raise ValueError("64-bit .eh_frame")
        back = reader.number("<I")
        if back == 0:
            cies[at] = _cie(reader)
        else:
            code, lsda = cies[at + 4 - back]
            start = reader.encoded(code)
            reader.encoded(code & 15)
            reader.uleb()  # length of the augmentation data, if any
            table = (reader.encoded(lsda)
                     if lsda is not None and lsda != 0xFF else 0)
            result.append((start, list(_landing_pads(elf, table, start))))
        at += 4 + length
    return result


def _landing_pads(elf, table, function):
    if not table:
        return
    section = next(s for s in elf.constants if s.holds(table))
    reader = _Reader(section, table)
    encoding = reader.number("<B")
    base = function if encoding == 0xFF else reader.encoded(encoding)
    if reader.number("<B") != 0xFF:
        reader.uleb()
    encoding = reader.number("<B")
    size = reader.uleb()
    end = reader.at + size
    while reader.at < end:
        reader.encoded(encoding)
        reader.encoded(encoding)
        pad = reader.encoded(encoding)
        reader.uleb()
        if pad:
            yield base + pad
