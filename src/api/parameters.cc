// SPDX-License-Identifier: Apache-2.0
#include "api/parameters.h"

#include <cstring>

#include "compress/builtin.h"
#include "compress/registry.h"
#include "zswap/parameters.h"

namespace uzswap {
namespace {

constexpr const char* kNames[] = {
#define UZSWAP_PARAMETER(name) #name,
    UZSWAP_PARAMETER_LIST(UZSWAP_PARAMETER)
#undef UZSWAP_PARAMETER
};

// While there is no instance.
constinit Parameters recorded;

class Host final : public ParameterHost {
 public:
  explicit Host(Instance* instance) : instance_(instance) {}

  Status SwitchPool(const CompressorChoice& compressor,
                    const char* zpool) override {
    // Sealed since the first region was managed: nothing is loaded here.
    const Result<const uzswap_compressor*> plugin =
        registry::Find(compressor.name.text, nullptr);
    UZSWAP_RETURN_IF_ERROR(plugin.status());
    return instance_->zswap->SwitchPool(*plugin.value(), compressor.level,
                                        zpool);
  }
  Status SetRecompressor(const CompressorChoice* compressor) override {
    if (compressor == nullptr) {
      return instance_->zswap->SetRecompressor(nullptr, 0);
    }
    const Result<const uzswap_compressor*> plugin =
        registry::Find(compressor->name.text, nullptr);
    UZSWAP_RETURN_IF_ERROR(plugin.status());
    return instance_->zswap->SetRecompressor(plugin.value(), compressor->level);
  }
  void Changed() override { instance_->zswap->ParametersChanged(); }

 private:
  Instance* const instance_;
};

// What of `config` stands in the way of a recorded value.
bool IsGiven(const uzswap_config& config, const char* name) {
  const auto is = [name](const char* other) {
    return strlen(name) == strlen(other) &&
           memcmp(name, other, strlen(name)) == 0;
  };
  return (is("compressor") && config.compressor != nullptr) ||
         (is("recompressor") && config.recompressor != nullptr) ||
         (is("zpool") && config.zpool != nullptr) ||
         (is("max_pool_percent") && config.max_pool_percent != 0) ||
         (is("accept_threshold_percent") &&
          config.accept_threshold_percent != 0);
}

}  // namespace

void TakeRecordedParameters(const uzswap_config& config, Instance* opened) {
  recorded.state.store(InitState::kUninitialised);
  Parameters& parameters = opened->zswap->parameters();
  Host host(opened);
  for (const char* name : kNames) {
    if (!recorded.WasSet(name) || IsGiven(config, name)) continue;
    ParameterText value;
    CHECK(recorded.Format(name, &value).ok());
    const Status s = parameters.Set(name, value.text, &host);
    if (s.ok()) continue;
    Line line;
    line << "parameter " << name << " cannot be \"" << value.text
         << "\": error " << s.error() << "; the default is used";
    Log(line);
  }
}

Status SetConfiguredRecompressor(const uzswap_config& config,
                                 Instance* opened) {
  if (config.recompressor == nullptr) return kOk;
  Host host(opened);
  return opened->zswap->parameters().Set("recompressor", config.recompressor,
                                         &host);
}

void NoteOpenFailed() { recorded.state.store(InitState::kFailed); }

void PrepareForkParameters() UZSWAP_NO_THREAD_SAFETY_ANALYSIS {
  Instance* i = GetInstance();
  if (i != nullptr) i->zswap->parameters().PrepareFork();
}

void ParentAfterForkParameters() UZSWAP_NO_THREAD_SAFETY_ANALYSIS {
  Instance* i = GetInstance();
  if (i != nullptr) i->zswap->parameters().ParentAfterFork();
}

void ChildAfterForkParameters() UZSWAP_NO_THREAD_SAFETY_ANALYSIS {
  Instance* i = GetInstance();
  if (i != nullptr) i->zswap->parameters().ChildAfterFork();
}

}  // namespace uzswap

using uzswap::GetInstance;
using uzswap::Instance;

int uzswap_set_parameter(const char* name, const char* value) {
  uzswap::SignalsBlocked blocked;
  Instance* i = GetInstance();
  if (i == nullptr) {
    return uzswap::Return(uzswap::recorded.Set(name, value, nullptr));
  }
  uzswap::Host host(i);
  return uzswap::Return(i->zswap->parameters().Set(name, value, &host));
}

int uzswap_get_parameter(const char* name, char* value, size_t bytes) {
  uzswap::SignalsBlocked blocked;
  Instance* i = GetInstance();
  uzswap::Parameters& parameters =
      i == nullptr ? uzswap::recorded : i->zswap->parameters();
  uzswap::ParameterText text;
  const uzswap::Status s = parameters.Format(name, &text);
  if (!s.ok()) return uzswap::Return(s);
  const size_t length = strlen(text.text);
  if (length >= bytes) return -ENOSPC;
  memcpy(value, text.text, length + 1);
  return 0;
}

int uzswap_is_built_in(const char* name) {
  uzswap::registry::RegisterBuiltins();
  if (name == nullptr) return 1;
  uzswap::ParameterText text;
  for (size_t i = 0; name[i] != '\0' && name[i] != ':'; ++i) {
    if (i + 1 == sizeof(text.text)) return 0;
    text.text[i] = name[i];
  }
  return uzswap::registry::Find(text.text, nullptr).ok() ? 1 : 0;
}

void uzswap_list_compressors(char* names, size_t bytes) {
  if (bytes == 0) return;
  size_t used = 0;
  names[0] = '\0';
  for (unsigned i = 0; uzswap::registry::At(i) != nullptr; ++i) {
    const char* name = uzswap::registry::At(i)->name;
    const size_t length = strlen(name);
    const size_t blank = used == 0 ? 0 : 1;
    if (length + blank >= bytes - used) continue;
    if (blank != 0) names[used++] = ' ';
    memcpy(names + used, name, length + 1);
    used += length;
  }
}
