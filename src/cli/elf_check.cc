// SPDX-License-Identifier: Apache-2.0
#include "cli/elf_check.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "cli/elf_file.h"

namespace uzswap::cli {
namespace {

constexpr std::string_view kLoader = "ld-linux-x86-64.so.2";
constexpr int kScriptLevels = 4;  // as the kernel

std::string_view BaseName(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

Failure Refuse(const std::string& path, const std::string& why) {
  return {"cannot run '" + path + "': " + why, kExitCannotRun};
}

// A read-only view of a whole file.
class FileView {
 public:
  explicit FileView(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) return;
    struct stat status;
    if (fstat(fd, &status) == 0 && status.st_size > 0) {
      bytes_ = static_cast<size_t>(status.st_size);
      data_ = mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    readable_ = true;
    close(fd);
  }
  ~FileView() {
    if (data_ != MAP_FAILED) munmap(data_, bytes_);
  }
  FileView(const FileView&) = delete;
  FileView& operator=(const FileView&) = delete;

  bool readable() const { return readable_; }
  std::span<const unsigned char> bytes() const {
    if (data_ == MAP_FAILED) return {};
    return {static_cast<const unsigned char*>(data_), bytes_};
  }

 private:
  bool readable_ = false;
  void* data_ = MAP_FAILED;
  size_t bytes_ = 0;
};

enum class Found { kNo, kNotExecutable, kYes };

Found Look(const std::string& path) {
  struct stat status;
  if (stat(path.c_str(), &status) != 0) {
    return errno == EACCES ? Found::kNotExecutable : Found::kNo;
  }
  if (!S_ISREG(status.st_mode)) return Found::kNotExecutable;
  // The effective rights count, as for exec.
  return faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0
             ? Found::kYes
             : Found::kNotExecutable;
}

// The kernel gives a program other rights than ours only if it may: not on a
// nosuid mount, not under no_new_privs.
Check CheckRights(const std::string& path) {
  struct stat status;
  struct statvfs mount;
  if (stat(path.c_str(), &status) != 0 || statvfs(path.c_str(), &mount) != 0) {
    return {};
  }
  if ((mount.f_flag & ST_NOSUID) != 0 ||
      prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) {
    return {};
  }
  constexpr char kRefused[] =
      ", so the loader would ignore uzswap; run it as its owner instead";
  if ((status.st_mode & S_ISUID) != 0 && status.st_uid != getuid()) {
    return Refuse(path, std::string("it is setuid") + kRefused);
  }
  if ((status.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) &&
      status.st_gid != getgid()) {
    return Refuse(path, std::string("it is setgid") + kRefused);
  }
  if (getuid() != 0 &&
      getxattr(path.c_str(), "security.capability", nullptr, 0) > 0) {
    return Refuse(path,
                  "it has file capabilities, so the loader would ignore "
                  "uzswap; run a copy without them");
  }
  return {};
}

Check CheckSanitizer(const std::string& path, const ElfFacts& facts) {
  std::string found = facts.sanitizer_symbol;
  for (const std::string& library : facts.needed) {
    for (const char* name : {"asan", "hwasan", "lsan", "msan", "tsan"}) {
      if (library.starts_with(std::string("lib") + name + ".so") ||
          library.starts_with(std::string("libclang_rt.") + name)) {
        found = library;
      }
    }
  }
  if (found.empty()) return {};
  return Refuse(path, "it is built with a sanitizer (" + found +
                          "), which manages memory itself; build it without");
}

Check CheckElf(const std::string& path, const ElfFacts& facts) {
  if (!facts.is_64_bit) {
    return Refuse(path, "it is a 32-bit program; only x86-64 is supported");
  }
  if (facts.has_header && facts.machine != EM_X86_64) {
    return Refuse(path, "it is built for another machine (ELF number " +
                            std::to_string(facts.machine) +
                            "); only x86-64 is supported");
  }
  if (!facts.is_valid) {
    return Refuse(path, "it is not a valid ELF program (damaged?)");
  }
  if (facts.interpreter.empty()) {
    if (facts.soname == kLoader) {
      return Refuse(path, "it is the loader; name the program itself");
    }
    return Refuse(path,
                  "it is statically linked, so uzswap cannot be loaded into "
                  "it; link it dynamically");
  }
  if (BaseName(facts.interpreter) != kLoader) {
    return Refuse(path, "its loader is " + facts.interpreter +
                            "; only glibc programs (" + std::string(kLoader) +
                            ") are supported");
  }
  if (access(facts.interpreter.c_str(), X_OK) != 0) {
    return Refuse(path, "its loader " + facts.interpreter + " is missing");
  }
  if (Check c = CheckSanitizer(path, facts)) return c;
  return CheckRights(path);
}

// "#!/usr/bin/env -S python3 -u" → the words after "#!".
std::vector<std::string> ScriptWords(std::span<const unsigned char> file) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()),
                              std::min<size_t>(file.size(), 4096));
  std::istringstream line(std::string(text.substr(2, text.find('\n') - 2)));
  std::vector<std::string> words;
  for (std::string word; line >> word;) words.push_back(word);
  return words;
}

// The program that env would start: the first word that is neither an option
// nor an assignment. Empty: cannot tell.
std::string BehindEnv(const std::vector<std::string>& words) {
  for (size_t i = 1; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "-u" || word == "-C") {
      ++i;
    } else if (word[0] != '-' && word.find('=') == std::string::npos) {
      return word;
    }
  }
  return {};
}

Check CheckLevel(const std::string& path, int level, bool* shell);

Check CheckScript(const std::string& path,
                  const std::vector<std::string>& words, int level) {
  if (words.empty()) return Refuse(path, "its #! line names no interpreter");
  if (level >= kScriptLevels) {
    return Refuse(path, "its interpreter is a script of a script ...");
  }
  std::string interpreter = words[0];
  const Found found = Look(interpreter);
  if (found != Found::kYes) {
    return Refuse(path, "its interpreter '" + interpreter + "' " +
                            (found == Found::kNo ? "does not exist"
                                                 : "is not executable"));
  }
  bool shell = false;
  if (Check c = CheckLevel(interpreter, level + 1, &shell)) return c;
  if (BaseName(interpreter) != "env") return {};
  const std::string name = BehindEnv(words);
  if (name.empty()) return {};
  if (FindProgram(name, &interpreter)) {
    return Refuse(path, "its interpreter '" + name + "' was not found in PATH");
  }
  return CheckLevel(interpreter, level + 1, &shell);
}

Check CheckLevel(const std::string& path, int level, bool* shell) {
  const FileView view(path);
  // Executable but not readable: exec works, and nothing can be said.
  if (!view.readable()) return CheckRights(path);
  const auto bytes = view.bytes();
  if (bytes.size() >= 2 && bytes[0] == '#' && bytes[1] == '!') {
    return CheckScript(path, ScriptWords(bytes), level);
  }
  const ElfFacts facts = ReadElf(bytes);
  if (facts.is_elf) return CheckElf(path, facts);
  const size_t head = std::min<size_t>(bytes.size(), 256);
  if (head > 0 && std::memchr(bytes.data(), 0, head) != nullptr) {
    return Refuse(path, "it is neither an ELF program nor a script");
  }
  *shell = true;
  return {};
}

}  // namespace

Check FindProgram(const std::string& name, std::string* path) {
  if (name.find('/') != std::string::npos) {
    *path = name;
    switch (Look(name)) {
      case Found::kYes:
        return {};
      case Found::kNotExecutable:
        return Refuse(name, "it is not an executable file");
      case Found::kNo:
        return Failure{"cannot run '" + name + "': no such file",
                       kExitNotFound};
    }
  }
  const char* list = std::getenv("PATH");
  std::istringstream folders(list != nullptr ? list : "/bin:/usr/bin");
  std::string refused;
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string candidate = (folder.empty() ? "." : folder) + "/" + name;
    const Found found = name.empty() ? Found::kNo : Look(candidate);
    if (found == Found::kYes) {
      *path = candidate;
      return {};
    }
    struct stat status;
    if (found == Found::kNotExecutable && refused.empty() &&
        stat(candidate.c_str(), &status) == 0 && S_ISREG(status.st_mode)) {
      refused = candidate;
    }
  }
  if (!refused.empty()) return Refuse(refused, "it is not executable");
  return Failure{"cannot run '" + name + "': not found in PATH", kExitNotFound};
}

Check CheckProgram(const std::string& path, bool* shell) {
  *shell = false;
  return CheckLevel(path, 0, shell);
}

}  // namespace uzswap::cli
