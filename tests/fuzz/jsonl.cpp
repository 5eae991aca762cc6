// SPDX-License-Identifier: Apache-2.0
// Text as a table with one JSON object a line, under each policy. What is accepted is a full table
// of finite numbers (or others where that was allowed) with one word a row in the other columns.
#include <cmath>

#include "foresight/data/csv.hpp"
#include "scratch_file.hpp"
#include "target.hpp"

namespace {

using namespace foresight;

void read_as_lines(const std::string& path, const data::CsvOptions& options) {
  data::CsvTable table;
  if (!fuzz::accepts([&] { table = data::read_jsonl(path, options); })) return;
  fuzz::promise(table.rows() > 0, "a table without rows was accepted");
  fuzz::promise(table.values.size(1) == static_cast<int64_t>(table.columns.size()),
                "the table has another width than its columns");
  const auto* value = table.values.const_data_ptr<double>();
  for (int64_t i = 0; i < table.values.numel(); ++i)
    fuzz::promise(std::isfinite(value[i]) || options.nan == data::NanPolicy::accept,
                  "a value that is not allowed was accepted");
  for (const auto& [column, reason] : table.skipped)
    fuzz::promise(static_cast<int64_t>(table.texts[column].size()) == table.rows(),
                  "a column of words has another length than the table");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = fuzz::scratch().put("table.jsonl", fuzz::text(data, size));
  for (const auto nan : {data::NanPolicy::reject, data::NanPolicy::accept})
    for (const auto words : {data::TextPolicy::reject, data::TextPolicy::skip})
      read_as_lines(file.string(), {.nan = nan, .text = words});
  return 0;
}
