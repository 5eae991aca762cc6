// SPDX-License-Identifier: Apache-2.0
// Text as a table of numbers, under each policy. What is accepted is a full table of finite numbers
// (or NaN where that was allowed), and printing it gives text that reads back the same.
#include "foresight/data/csv.hpp"

#include <cmath>

#include "target.hpp"

namespace {

using namespace foresight;

std::string printed(const data::CsvTable& table) {
  std::string text;
  for (const auto& column : table.columns) {
    if (!text.empty()) text += ',';
    text += column;
  }
  const auto columns = static_cast<int64_t>(table.columns.size());
  const auto* value = table.values.const_data_ptr<double>();
  for (int64_t r = 0; r < table.rows(); ++r)
    for (int64_t c = 0; c < columns; ++c) {
      text += c == 0 ? '\n' : ',';
      text += data::number_text(*value++);
    }
  return text;
}

void read_as_table(std::string_view text, const data::CsvOptions& options) {
  data::CsvTable table;
  if (!fuzz::accepts([&] { table = data::parse_csv(text, "fuzz.csv", options); })) return;
  fuzz::promise(table.values.size(1) == static_cast<int64_t>(table.columns.size()),
                "the table has another width than its header");
  for (const auto& column : table.columns) table.column(column);
  const auto* value = table.values.const_data_ptr<double>();
  for (int64_t i = 0; i < table.values.numel(); ++i)
    fuzz::promise(std::isfinite(value[i]) || options.nan == data::NanPolicy::accept,
                  "a value that is not allowed was accepted");
  if (table.columns.empty()) return;
  const std::string once = printed(table);
  fuzz::promise(printed(data::parse_csv(once, "again.csv", options)) == once,
                "a table changed by being printed and read");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = fuzz::text(data, size);
  for (const auto nan : {data::NanPolicy::reject, data::NanPolicy::accept})
    for (const auto words : {data::TextPolicy::reject, data::TextPolicy::skip})
      read_as_table(text, {.nan = nan, .text = words});
  return 0;
}
