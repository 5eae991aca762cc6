// SPDX-License-Identifier: Apache-2.0
// Bytes as a Parquet file. Of what is accepted every column is read in every way there is: it comes
// with as many rows as the file says, or is refused by name. Arrow decodes, with its own checks;
// ours are of what it hands out.
#include "../../src/data/tables/parquet_file.hpp"

#include "every_byte.hpp"
#include "foresight/core/log.hpp"
#include "scratch_file.hpp"
#include "target.hpp"

namespace {

using namespace foresight;

void read_column(const data::ParquetFile& file, const std::string& column) {
  for (const int64_t width : {1, 2, 6}) {
    Tensor numbers;
    if (!fuzz::accepts([&] { numbers = file.numbers(column, width); })) continue;
    fuzz::promise(numbers.dim() == 2 && numbers.size(1) == width, "numbers of another shape");
    fuzz::promise(numbers.size(0) == file.rows(), "numbers of other rows than the file's");
    fuzz::promise(numbers.is_contiguous(), "numbers are not contiguous");
    fuzz::read_every_byte(numbers);
  }
  const auto rows = static_cast<std::size_t>(file.rows());
  fuzz::accepts([&] {
    fuzz::promise(file.texts(column).size() == rows, "texts of other rows than the file's");
  });
  fuzz::accepts([&] {
    fuzz::promise(file.text_lists(column).size() == rows, "lists of other rows than the file's");
  });
  const auto groups = static_cast<int64_t>(file.group_rows().size());
  for (const int64_t group : {int64_t{0}, groups - 1})
    if (group >= 0 && group < groups) fuzz::accepts([&] { file.pictures(column, group); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool readable = [] {
    set_log_level(LogLevel::off);
    return data::has_parquet();
  }();
  if (!readable) return 0;
  const auto path = fuzz::scratch().put("table.parquet", fuzz::text(data, size));
  fuzz::accepts([&] {
    const data::ParquetFile file(path);
    for (const auto& column : file.columns()) read_column(file, column);
  });
  return 0;
}
