// SPDX-License-Identifier: Apache-2.0
#include "cli/stats_fields.h"

namespace uzswap::cli {
namespace {

#define SUM(name) \
  { #name, &uzswap_stats::name, true }
#define ONE(name) \
  { #name, &uzswap_stats::name, false }

constexpr StatsField kFields[] = {
    ONE(memory_limit),
    SUM(memory_granted),
    SUM(resident_bytes),
    SUM(staged_bytes),
    SUM(stored_bytes),
    SUM(pool_bytes),
    SUM(compressed_bytes),
    SUM(device_bytes),
    SUM(metadata_bytes),
    SUM(unmanaged_bytes),
    ONE(peak_bytes),
    ONE(peak_without_bytes),
    SUM(faults),
    SUM(faults_zero),
    SUM(faults_soft),
    SUM(faults_clean),
    SUM(faults_shared),
    SUM(pages_in),
    SUM(pages_prefetched),
    SUM(pages_out),
    SUM(pages_out_clean),
    SUM(pages_cancelled),
    SUM(protect_calls),
    SUM(fault_ns),
    SUM(evict_ns),
    SUM(limit_exceeded),
    SUM(pinned_calls),
    SUM(stored_pages),
    SUM(same_filled_pages),
    SUM(stored_incompressible_pages),
    SUM(pool_limit_hit),
    SUM(reject_reclaim_fail),
    SUM(reject_alloc_fail),
    SUM(reject_kmemcache_fail),
    SUM(reject_compress_fail),
    SUM(reject_compress_poor),
    SUM(decompress_fail),
    SUM(written_back_pages),
    SUM(pages_compacted),
    SUM(duplicate_entry),
    SUM(zswpout),
    SUM(zswpin),
    SUM(zswpwb),
    SUM(device_in),
    SUM(device_write_fail),
    SUM(device_read_fail),
    SUM(pool_limit_exceeded),
    ONE(evict_method),
    SUM(compressed_bytes_in),
    SUM(compressed_bytes_out),
    SUM(pools),
    SUM(pool_switches),
    SUM(migrated_pages),
    SUM(device_written_bytes),
    SUM(device_cleaned_bytes),
    SUM(stall_ns),
    ONE(stall_avg10),
    ONE(stall_avg60),
    SUM(resident_pages_1s),
    SUM(resident_pages_10s),
    SUM(resident_pages_1min),
    SUM(resident_pages_10min),
    SUM(resident_pages_1h),
    SUM(resident_pages_older),
    SUM(pages_idle),
    SUM(pages_promoted),
    SUM(device_reads),
    SUM(device_read_bytes),
    ONE(device_alignment),
    SUM(dense_pages),
    SUM(dense_bytes),
    SUM(dense_pool_bytes),
    SUM(recompressed_pages),
    SUM(recompress_poor),
    ONE(pool_percent),
    SUM(pool_load_ns),
    SUM(device_load_ns),
    SUM(age_1s_pages),
    SUM(age_10s_pages),
    SUM(age_1m_pages),
    SUM(age_10m_pages),
    SUM(age_1h_pages),
    SUM(age_older_pages),
    SUM(swapin_ahead_pages),
};

#undef SUM
#undef ONE

// Every member is one uint64_t, so a forgotten one shows in the size.
static_assert(sizeof(kFields) / sizeof(kFields[0]) * sizeof(uint64_t) ==
              sizeof(uzswap_stats));

}  // namespace

std::span<const StatsField> StatsFields() { return kFields; }

}  // namespace uzswap::cli
