// SPDX-License-Identifier: Apache-2.0
#include "parquet_writer.hpp"

#include "foresight/core/error.hpp"
#include "foresight/io/files.hpp"
#include "parquet_file.hpp"

#if FORESIGHT_HAS_PARQUET

#include <arrow/api.h>
#include <arrow/io/memory.h>
#include <arrow/util/key_value_metadata.h>
#include <parquet/arrow/writer.h>

#include <algorithm>
#include <memory>

namespace foresight::data {
namespace {

namespace fs = std::filesystem;
using ArrowArray = std::shared_ptr<arrow::Array>;

void check_arrow_write(const arrow::Status& status, const std::string& what) {
  require(status.ok(), ErrorCategory::io_failure, what + ": " + status.ToString());
}

template <class Value>
Value checked_result(arrow::Result<Value> result, const std::string& what) {
  check_arrow_write(result.status(), what);
  return std::move(result).ValueUnsafe();
}

ArrowArray finished(arrow::ArrayBuilder& builder, const std::string& what) {
  ArrowArray array;
  check_arrow_write(builder.Finish(&array), what);
  return array;
}

template <class Builder, class Value>
ArrowArray number_array(const Tensor& flat, const std::string& what) {
  Builder builder;
  const auto* from = flat.const_data_ptr<Value>();
  if constexpr (std::is_same_v<Value, bool>) {
    for (int64_t i = 0; i < flat.numel(); ++i) check_arrow_write(builder.Append(from[i]), what);
  } else {
    check_arrow_write(builder.AppendValues(from, flat.numel()), what);
  }
  return finished(builder, what);
}

ArrowArray flat_array(const Tensor& flat, const std::string& what) {
  switch (flat.scalar_type()) {
    case at::kFloat:
      return number_array<arrow::FloatBuilder, float>(flat, what);
    case at::kDouble:
      return number_array<arrow::DoubleBuilder, double>(flat, what);
    case at::kLong:
      return number_array<arrow::Int64Builder, int64_t>(flat, what);
    case at::kBool:
      return number_array<arrow::BooleanBuilder, bool>(flat, what);
    default:
      throw Error(ErrorCategory::invalid_argument, what + ": numbers of type " +
                                                       c10::toString(flat.scalar_type()) +
                                                       ", accepted: float32, float64, int64, bool");
  }
}

// `items` in lists of `length`.
ArrowArray in_lists(const ArrowArray& items, int64_t length, ParquetLists lists,
                    const std::string& what) {
  if (lists == ParquetLists::fixed)
    return checked_result(
        arrow::FixedSizeListArray::FromArrays(items, static_cast<int32_t>(length)), what);
  arrow::Int32Builder offsets;
  for (int64_t at = 0; at <= items->length(); at += length)
    check_arrow_write(offsets.Append(static_cast<int32_t>(at)), what);
  return checked_result(arrow::ListArray::FromArrays(*finished(offsets, what), *items), what);
}

ArrowArray to_arrow(const Tensor& numbers, ParquetLists lists, const std::string& what) {
  ArrowArray array = flat_array(numbers.contiguous().flatten(), what);
  for (int64_t dim = numbers.dim() - 1; dim >= 1; --dim)
    array = in_lists(array, numbers.size(dim), lists, what);
  return array;
}

ArrowArray to_arrow(const std::vector<std::string>& texts, ParquetLists, const std::string& what) {
  arrow::StringBuilder builder;
  check_arrow_write(builder.AppendValues(texts), what);
  return finished(builder, what);
}

ArrowArray to_arrow(const std::vector<std::vector<std::string>>& lists, ParquetLists,
                    const std::string& what) {
  auto texts = std::make_shared<arrow::StringBuilder>();
  arrow::ListBuilder builder(arrow::default_memory_pool(), texts);
  for (const auto& list : lists) {
    check_arrow_write(builder.Append(), what);
    check_arrow_write(texts->AppendValues(list), what);
  }
  return finished(builder, what);
}

ArrowArray to_arrow(const ParquetPictures& pictures, ParquetLists lists, const std::string& what) {
  arrow::BinaryBuilder bytes;
  check_arrow_write(bytes.AppendValues(pictures.bytes), what);
  return checked_result(
      arrow::StructArray::Make({finished(bytes, what), to_arrow(pictures.paths, lists, what)},
                               std::vector<std::string>{"bytes", "path"}),
      what);
}

std::shared_ptr<arrow::Table> made_table(const fs::path& path,
                                         const std::vector<ParquetColumn>& columns,
                                         const ParquetLayout& layout) {
  arrow::FieldVector fields;
  arrow::ArrayVector arrays;
  for (const auto& column : columns) {
    const std::string what = path.string() + ": column '" + column.name + "'";
    arrays.push_back(std::visit(
        [&](const auto& values) { return to_arrow(values, column.lists, what); }, column.values));
    require(arrays.back()->length() == arrays.front()->length(), ErrorCategory::invalid_argument,
            what + ": has " + std::to_string(arrays.back()->length()) + " rows, the first column " +
                std::to_string(arrays.front()->length()));
    fields.push_back(arrow::field(column.name, arrays.back()->type()));
  }
  std::vector<std::string> keys, values;
  for (const auto& [key, value] : layout.metadata) {
    keys.push_back(key);
    values.push_back(value);
  }
  return arrow::Table::Make(
      arrow::schema(fields, arrow::key_value_metadata(std::move(keys), std::move(values))), arrays);
}

void write_groups(const arrow::Table& table, const std::vector<int64_t>& groups,
                  parquet::arrow::FileWriter& writer, const std::string& what) {
  int64_t row = 0;
  for (const int64_t rows : groups) {
    check_arrow_write(writer.WriteTable(*table.Slice(row, rows), std::max<int64_t>(rows, 1)), what);
    row += rows;
  }
  require(row == table.num_rows(), ErrorCategory::invalid_argument,
          what + ": row groups of " + std::to_string(row) + " rows for " +
              std::to_string(table.num_rows()));
}

}  // namespace

void write_parquet(const fs::path& path, const std::vector<ParquetColumn>& columns,
                   const ParquetLayout& layout) {
  const std::string what = path.string();
  const auto table = made_table(path, columns, layout);
  const auto sink = checked_result(arrow::io::BufferOutputStream::Create(), what);
  const auto properties =
      parquet::WriterProperties::Builder().compression(arrow::Compression::SNAPPY)->build();
  const auto arrow_properties = parquet::ArrowWriterProperties::Builder().store_schema()->build();
  const auto writer = checked_result(
      parquet::arrow::FileWriter::Open(*table->schema(), arrow::default_memory_pool(), sink,
                                       properties, arrow_properties),
      what);
  write_groups(*table,
               layout.groups.empty() ? std::vector<int64_t>{table->num_rows()} : layout.groups,
               *writer, what);
  check_arrow_write(writer->Close(), what);
  const auto bytes = checked_result(sink->Finish(), what);
  io::replace_file_atomically(path, [&](io::OutputFile& file) {
    file.write(bytes->data(), static_cast<std::size_t>(bytes->size()));
  });
}

}  // namespace foresight::data

#else

namespace foresight::data {

void write_parquet(const std::filesystem::path& path, const std::vector<ParquetColumn>&,
                   const ParquetLayout&) {
  throw Error(ErrorCategory::unsupported, path.string() + ": " + kNoParquet);
}

}  // namespace foresight::data

#endif
