// SPDX-License-Identifier: Apache-2.0
#include "cli/class_table.h"

#include <cstdio>
#include <iterator>

namespace uzswap::cli {
namespace {

constexpr const char* kGroups[] = {"10%", "20%", "30%", "40%", "50%", "60%",
                                   "70%", "80%", "90%", "99%", "100%"};
constexpr size_t kGroupCount = std::size(kGroups);
static_assert(kGroupCount == std::size(uzswap_class{}.zspages));

// Numbers are right-aligned below their titles.
void Cell(std::string* line, int width, const std::string& text) {
  char cell[32];
  std::snprintf(cell, sizeof(cell), " %*s", width, text.c_str());
  *line += cell;
}

struct Row {
  std::string name;
  std::string size;
  uint64_t zspages[kGroupCount] = {};
  uint64_t obj_allocated = 0;
  uint64_t obj_used = 0;
  uint64_t pages_used = 0;
  std::string pages_per_zspage;
  uint64_t freeable = 0;
};

std::string Line(const Row& row) {
  std::string line;
  Cell(&line, 5, row.name);
  Cell(&line, 5, row.size);
  for (const uint64_t n : row.zspages) Cell(&line, 9, std::to_string(n));
  Cell(&line, 13, std::to_string(row.obj_allocated));
  Cell(&line, 10, std::to_string(row.obj_used));
  Cell(&line, 10, std::to_string(row.pages_used));
  Cell(&line, 16, row.pages_per_zspage);
  Cell(&line, 8, std::to_string(row.freeable));
  return line + "\n";
}

std::string Titles() {
  std::string line;
  Cell(&line, 5, "class");
  Cell(&line, 5, "size");
  for (const char* group : kGroups) Cell(&line, 9, group);
  Cell(&line, 13, "obj_allocated");
  Cell(&line, 10, "obj_used");
  Cell(&line, 10, "pages_used");
  Cell(&line, 16, "pages_per_zspage");
  Cell(&line, 8, "freeable");
  return line + "\n";
}

}  // namespace

std::string FormatClasses(const std::vector<uzswap_class>& classes) {
  std::string text = Titles();
  Row total;
  total.name = "Total";
  for (const uzswap_class& c : classes) {
    Row row;
    row.name = std::to_string(c.index);
    row.size = std::to_string(c.size);
    row.pages_per_zspage = std::to_string(c.pages_per_zspage);
    for (size_t i = 0; i < kGroupCount; ++i) {
      row.zspages[i] = c.zspages[i];
      total.zspages[i] += c.zspages[i];
    }
    row.obj_allocated = c.obj_allocated;
    row.obj_used = c.obj_used;
    row.pages_used = c.pages_used;
    row.freeable = c.freeable;
    total.obj_allocated += c.obj_allocated;
    total.obj_used += c.obj_used;
    total.pages_used += c.pages_used;
    total.freeable += c.freeable;
    text += Line(row);
  }
  return text + "\n" + Line(total);
}

}  // namespace uzswap::cli
