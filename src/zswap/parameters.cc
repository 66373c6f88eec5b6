// SPDX-License-Identifier: Apache-2.0
#include "zswap/parameters.h"

#include <uzswap/uzswap.h>

#include <climits>
#include <cstring>

namespace uzswap {

constinit LockClass Parameters::lock_class_{"parameters"};

enum class Parameters::Id : unsigned {
#define UZSWAP_PARAMETER(name) k_##name,
  UZSWAP_PARAMETER_LIST(UZSWAP_PARAMETER)
#undef UZSWAP_PARAMETER
};

namespace {

constexpr const char* kNames[] = {
#define UZSWAP_PARAMETER(name) #name,
    UZSWAP_PARAMETER_LIST(UZSWAP_PARAMETER)
#undef UZSWAP_PARAMETER
};
static_assert(sizeof(kNames) / sizeof(kNames[0]) == UZSWAP_PARAMETERS);
static_assert(ParameterText::kBytes == UZSWAP_PARAMETER_BYTES);

bool Same(const char* a, const char* b) {
  const size_t bytes = strlen(a);
  return bytes == strlen(b) && memcmp(a, b, bytes) == 0;
}

bool IsBlank(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\v' ||
         c == '\f';
}

// False: does not fit.
bool Copy(const char* from, size_t bytes, ParameterText* to) {
  if (bytes >= ParameterText::kBytes) return false;
  memcpy(to->text, from, bytes);
  memset(to->text + bytes, 0, ParameterText::kBytes - bytes);
  return true;
}

bool Trim(const char* value, ParameterText* to) {
  while (IsBlank(*value)) ++value;
  size_t bytes = strlen(value);
  while (bytes > 0 && IsBlank(value[bytes - 1])) --bytes;
  return Copy(value, bytes, to);
}

bool SameWord(const char* text, const char* lower) {
  for (; *lower != '\0'; ++text, ++lower) {
    const char c = *text;
    if ((c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c) != *lower) return false;
  }
  return *text == '\0';
}

Status ParseBool(const char* text, bool* value) {
  for (const char* yes : {"y", "yes", "t", "true", "1", "on"}) {
    if (!SameWord(text, yes)) continue;
    *value = true;
    return kOk;
  }
  for (const char* no : {"n", "no", "f", "false", "0", "off"}) {
    if (!SameWord(text, no)) continue;
    *value = false;
    return kOk;
  }
  return Status::Error(EINVAL);
}

unsigned Digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A' + 10);
  return UINT_MAX;
}

// As kstrtouint with base 0: "0x" is hexadecimal, a leading 0 octal.
Status ParseUnsigned(const char* text, unsigned* value) {
  if (*text == '+') ++text;
  unsigned base = 10;
  if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
    base = 16;
    text += 2;
  } else if (text[0] == '0' && text[1] != '\0') {
    base = 8;
  }
  if (*text == '\0') return Status::Error(EINVAL);
  uint64_t sum = 0;
  for (; *text != '\0'; ++text) {
    const unsigned digit = Digit(*text);
    if (digit >= base) return Status::Error(EINVAL);
    sum = sum * base + digit;
    if (sum > UINT_MAX) sum = uint64_t{UINT_MAX} + 1;  // it stays too large
  }
  if (sum > UINT_MAX) return Status::Error(ERANGE);
  *value = static_cast<unsigned>(sum);
  return kOk;
}

Status ParseLevel(const char* text, int* level) {
  const bool negative = *text == '-';
  if (negative) ++text;
  if (*text == '\0') return Status::Error(EINVAL);
  int64_t sum = 0;
  for (; *text != '\0'; ++text) {
    if (*text < '0' || *text > '9') return Status::Error(EINVAL);
    sum = sum * 10 + (*text - '0');
    if (sum > INT_MAX) return Status::Error(ERANGE);
  }
  *level = static_cast<int>(negative ? -sum : sum);
  return kOk;
}

Status ParseCompressor(const char* text, CompressorChoice* choice) {
  const size_t bytes = strlen(text);
  size_t name = 0;
  while (name < bytes && text[name] != ':') ++name;
  CHECK(Copy(text, name, &choice->name));
  choice->level = UZSWAP_COMPRESSOR_DEFAULT_LEVEL;
  return name == bytes ? kOk : ParseLevel(text + name + 1, &choice->level);
}

// A name that long is nobody's; the level gives way.
void FormatChoice(const CompressorChoice& choice, Line& line) {
  line << choice.name.text;
  if (choice.level == UZSWAP_COMPRESSOR_DEFAULT_LEVEL) return;
  Line level;
  level << ":" << choice.level;
  if (line.size() + level.size() < ParameterText::kBytes) {
    line << level.c_str();
  }
}

void Format(Line& line, ParameterText* value) {
  const char* text = line.c_str();
  CHECK(Copy(text, line.size(), value));
}

}  // namespace

bool CompressorChoice::operator==(const CompressorChoice& other) const {
  return level == other.level && Same(name.text, other.name.text);
}

bool Parameters::Find(const char* name, Id* id) {
  if (name == nullptr) return false;
  for (unsigned i = 0; i < UZSWAP_PARAMETERS; ++i) {
    if (!Same(kNames[i], name)) continue;
    *id = static_cast<Id>(i);
    return true;
  }
  return false;
}

void Parameters::Start(const char* compressor, int level, const char* zpool) {
  constexpr size_t kMost = ParameterText::kBytes - 1;
  const auto cut = [](const char* text) {
    const size_t bytes = strlen(text);
    return bytes < kMost ? bytes : kMost;
  };
  ScopedLock lock(mutex_);
  CHECK(Copy(compressor, cut(compressor), &compressor_.name));
  CHECK(Copy(zpool, cut(zpool), &zpool_));
  compressor_.level = level;
  has_pool.store(true);
  state.store(InitState::kSucceeded);
}

Status Parameters::Set(const char* name, const char* value,
                       ParameterHost* host) {
  Id id{};
  if (!Find(name, &id)) return Status::Error(ENOENT);
  if (value == nullptr) return Status::Error(EINVAL);
  ScopedLock lock(mutex_);
  CHECK(host != nullptr || state.load() != InitState::kSucceeded);
  const Status s = SetLocked(id, value, host);
  if (s.ok()) was_set_.fetch_or(1u << static_cast<unsigned>(id));
  return s;
}

Status Parameters::SetLocked(Id id, const char* value, ParameterHost* host) {
  const auto set_bool = [](const char* text, std::atomic<bool>* to) {
    bool parsed = false;
    UZSWAP_RETURN_IF_ERROR(ParseBool(text, &parsed));
    to->store(parsed, std::memory_order_relaxed);
    return kOk;
  };
  const auto set_percent = [](const char* text, std::atomic<unsigned>* to) {
    unsigned parsed = 0;
    UZSWAP_RETURN_IF_ERROR(ParseUnsigned(text, &parsed));
    if (parsed > 100) return Status::Error(EINVAL);
    to->store(parsed, std::memory_order_relaxed);
    return kOk;
  };
  ParameterText text;
  const bool fits = Trim(value, &text);
  Status s;
  switch (id) {
    case Id::k_compressor:
    case Id::k_recompressor:
    case Id::k_zpool:
      if (state.load() == InitState::kFailed) return Status::Error(ENODEV);
      if (!fits) {
        return Status::Error(state.load() == InitState::kSucceeded ? ENOENT
                                                                   : ENOSPC);
      }
      if (id == Id::k_zpool) return SetZpool(text.text, host);
      return id == Id::k_compressor ? SetCompressor(text.text, host)
                                    : SetRecompressor(text.text, host);
    case Id::k_enabled:
      s = SetEnabled(text.text);
      break;
    case Id::k_shrinker_enabled:
      s = set_bool(text.text, &shrinker_enabled);
      break;
    case Id::k_max_pool_percent:
      s = set_percent(text.text, &max_pool_percent);
      break;
    case Id::k_accept_threshold_percent:
      s = set_percent(text.text, &accept_threshold_percent);
      break;
  }
  if (s.ok() && host != nullptr) host->Changed();
  return s;
}

// The kernel looks at the value last: without an engine even "N" is ENODEV.
Status Parameters::SetEnabled(const char* value) {
  const InitState now = state.load();
  if (now == InitState::kFailed ||
      (now == InitState::kSucceeded && !has_pool.load())) {
    return Status::Error(ENODEV);
  }
  bool parsed = false;
  UZSWAP_RETURN_IF_ERROR(ParseBool(value, &parsed));
  enabled.store(parsed, std::memory_order_relaxed);
  return kOk;
}

Status Parameters::SetCompressor(const char* value, ParameterHost* host) {
  CompressorChoice wanted;
  UZSWAP_RETURN_IF_ERROR(ParseCompressor(value, &wanted));
  if (state.load() == InitState::kSucceeded) {
    if (has_pool.load() && wanted == compressor_) return kOk;
    UZSWAP_RETURN_IF_ERROR(host->SwitchPool(wanted, zpool_.text));
    has_pool.store(true);
  }
  compressor_ = wanted;
  return kOk;
}

Status Parameters::SetRecompressor(const char* value, ParameterHost* host) {
  CompressorChoice wanted;
  const bool none = *value == '\0' || Same(value, "none");
  if (!none) {
    UZSWAP_RETURN_IF_ERROR(ParseCompressor(value, &wanted));
    if (wanted.name.text[0] == '\0') return Status::Error(EINVAL);
  }
  if (wanted == recompressor_) return kOk;
  if (state.load() == InitState::kSucceeded) {
    UZSWAP_RETURN_IF_ERROR(host->SetRecompressor(none ? nullptr : &wanted));
  }
  recompressor_ = wanted;
  return kOk;
}

Status Parameters::SetZpool(const char* value, ParameterHost* host) {
  ParameterText wanted;
  CHECK(Copy(value, strlen(value), &wanted));
  if (state.load() == InitState::kSucceeded) {
    if (has_pool.load() && Same(value, zpool_.text)) return kOk;
    UZSWAP_RETURN_IF_ERROR(host->SwitchPool(compressor_, value));
    has_pool.store(true);
  }
  zpool_ = wanted;
  return kOk;
}

Status Parameters::Format(const char* name, ParameterText* value) {
  Id id{};
  if (!Find(name, &id)) return Status::Error(ENOENT);
  ScopedLock lock(mutex_);
  Line line;
  switch (id) {
    case Id::k_compressor:
      FormatChoice(compressor_, line);
      break;
    case Id::k_recompressor:
      if (recompressor_ == CompressorChoice{}) {
        line << "none";
      } else {
        FormatChoice(recompressor_, line);
      }
      break;
    case Id::k_zpool:
      *value = zpool_;
      return kOk;
    case Id::k_enabled:
      line << (enabled.load(std::memory_order_relaxed) ? "Y" : "N");
      break;
    case Id::k_shrinker_enabled:
      line << (shrinker_enabled.load(std::memory_order_relaxed) ? "Y" : "N");
      break;
    case Id::k_max_pool_percent:
      line << max_pool_percent.load(std::memory_order_relaxed);
      break;
    case Id::k_accept_threshold_percent:
      line << accept_threshold_percent.load(std::memory_order_relaxed);
      break;
  }
  uzswap::Format(line, value);
  return kOk;
}

bool Parameters::WasSet(const char* name) const {
  Id id{};
  return Find(name, &id) &&
         (was_set_.load() & 1u << static_cast<unsigned>(id)) != 0;
}

void Parameters::CheckInvariants() {
  CHECK(max_pool_percent.load() <= 100);
  CHECK(accept_threshold_percent.load() <= 100);
  ScopedLock lock(mutex_);
  CHECK(compressor_.name.text[ParameterText::kBytes - 1] == '\0');
  CHECK(recompressor_.name.text[ParameterText::kBytes - 1] == '\0');
  CHECK(zpool_.text[ParameterText::kBytes - 1] == '\0');
  CHECK(state.load() != InitState::kSucceeded || !has_pool.load() ||
        (compressor_.name.text[0] != '\0' && zpool_.text[0] != '\0'));
}

}  // namespace uzswap
