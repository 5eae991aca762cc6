// SPDX-License-Identifier: Apache-2.0
#include "parquet_file.hpp"

#include "foresight/core/error.hpp"

#if FORESIGHT_HAS_PARQUET

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <parquet/arrow/reader.h>
#include <parquet/exception.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <type_traits>

namespace foresight::data {
namespace {

namespace fs = std::filesystem;

// Flattens nested lists of one length a row and copies their numbers.
class NumberColumn {
 public:
  NumberColumn(std::string name, int64_t width, Nulls nulls)
      : name_(std::move(name)), width_(width), nulls_(nulls) {}

  void add(const std::shared_ptr<arrow::Array>& chunk) {
    const int64_t rows = chunk->length();
    if (rows == 0) return;
    if (const auto type = leaf_type(*chunk); type && chunk->null_count() > 0) {
      add_runs(*chunk, *type);
      return;
    }
    const auto leaf = flattened(chunk);
    require(leaf->length() == rows * width_, ErrorCategory::bad_file,
            name_ + ": rows " + std::to_string(rows_) + ".." + std::to_string(rows_ + rows - 1) +
                " hold " + std::to_string(leaf->length()) + " numbers, expected " +
                std::to_string(width_) + " a row");
    parts_.push_back(copied(*leaf).view({rows, width_}));
    rows_ += rows;
  }

  Tensor all() const {
    if (parts_.empty()) return at::zeros({0, width_}, at::kFloat);
    return parts_.size() == 1 ? parts_.front() : at::cat(parts_);
  }

 private:
  // Of floating point numbers where NaN may take the place of those that are missing.
  std::optional<at::ScalarType> leaf_type(const arrow::Array& array) const {
    auto type = array.type();
    while (nulls_ == Nulls::nan) {
      switch (type->id()) {
        case arrow::Type::EXTENSION:
          type = std::static_pointer_cast<arrow::ExtensionType>(type)->storage_type();
          break;
        case arrow::Type::LIST:
        case arrow::Type::LARGE_LIST:
        case arrow::Type::FIXED_SIZE_LIST:
          type = std::static_pointer_cast<arrow::BaseListType>(type)->value_type();
          break;
        case arrow::Type::FLOAT:
          return at::kFloat;
        case arrow::Type::DOUBLE:
          return at::kDouble;
        default:
          return std::nullopt;
      }
    }
    return std::nullopt;
  }

  // Rows that are there and rows that are missing as a whole, in turns.
  void add_runs(const arrow::Array& chunk, at::ScalarType type) {
    for (int64_t from = 0, to = 0; from < chunk.length(); from = to) {
      const bool missing = chunk.IsNull(from);
      while (to < chunk.length() && chunk.IsNull(to) == missing) ++to;
      if (!missing) {
        add(chunk.Slice(from, to - from));
        continue;
      }
      parts_.push_back(at::full({to - from, width_}, std::nan(""), type));
      rows_ += to - from;
    }
  }

  std::shared_ptr<arrow::Array> flattened(std::shared_ptr<arrow::Array> array) const {
    for (;;) {
      const auto type = array->type_id();
      const bool floating = type == arrow::Type::FLOAT || type == arrow::Type::DOUBLE;
      if (!floating || nulls_ == Nulls::refused) check_complete(*array);
      switch (array->type_id()) {
        case arrow::Type::EXTENSION:
          array = std::static_pointer_cast<arrow::ExtensionArray>(array)->storage();
          break;
        case arrow::Type::LIST:
          array = items(static_cast<const arrow::ListArray&>(*array));
          break;
        case arrow::Type::LARGE_LIST:
          array = items(static_cast<const arrow::LargeListArray&>(*array));
          break;
        case arrow::Type::FIXED_SIZE_LIST: {
          const auto& list = static_cast<const arrow::FixedSizeListArray&>(*array);
          array = list.values()->Slice(list.value_offset(0), list.length() * list.value_length());
          break;
        }
        default:
          return array;
      }
    }
  }

  template <class List>
  std::shared_ptr<arrow::Array> items(const List& list) const {
    for (int64_t i = 1; i < list.length(); ++i)
      require(list.value_length(i) == list.value_length(0), ErrorCategory::bad_file,
              name_ + ": row " + std::to_string(rows_ + i) + " holds a list of " +
                  std::to_string(list.value_length(i)) + ", the one before it " +
                  std::to_string(list.value_length(0)));
    const auto first = list.value_offset(0);
    return list.values()->Slice(first, list.value_offset(list.length()) - first);
  }

  void check_complete(const arrow::Array& array) const {
    if (array.null_count() == 0) return;
    for (int64_t i = 0; i < array.length(); ++i)
      require(!array.IsNull(i), ErrorCategory::bad_file,
              name_ + ": value " + std::to_string(i) + " after row " + std::to_string(rows_) +
                  " is missing");
  }

  template <class Stored>
  Tensor plain(const arrow::Array& array, at::ScalarType type) const {
    const auto* from = static_cast<const Stored&>(array).raw_values();
    using Value = typename Stored::value_type;
    const auto count = static_cast<std::size_t>(array.length());
    Tensor values = at::empty({array.length()}, type);
    if (sizeof(Value) == values.element_size() && !std::is_same_v<Stored, arrow::UInt64Array>)
      std::memcpy(values.mutable_data_ptr(), from, count * sizeof(Value));
    else
      std::copy(from, from + count, values.mutable_data_ptr<int64_t>());
    if constexpr (std::is_floating_point_v<Value>)  // what lies in the place of a null is anything
      for (int64_t i = 0; array.null_count() > 0 && i < array.length(); ++i)
        if (array.IsNull(i))
          values.mutable_data_ptr<Value>()[i] = std::numeric_limits<Value>::quiet_NaN();
    return values;
  }

  Tensor copied(const arrow::Array& array) const {
    switch (array.type_id()) {
      case arrow::Type::FLOAT:
        return plain<arrow::FloatArray>(array, at::kFloat);
      case arrow::Type::DOUBLE:
        return plain<arrow::DoubleArray>(array, at::kDouble);
      case arrow::Type::INT8:
        return plain<arrow::Int8Array>(array, at::kChar);
      case arrow::Type::INT16:
        return plain<arrow::Int16Array>(array, at::kShort);
      case arrow::Type::INT32:
        return plain<arrow::Int32Array>(array, at::kInt);
      case arrow::Type::INT64:
        return plain<arrow::Int64Array>(array, at::kLong);
      case arrow::Type::UINT8:
        return plain<arrow::UInt8Array>(array, at::kByte);
      case arrow::Type::UINT16:
        return plain<arrow::UInt16Array>(array, at::kLong);
      case arrow::Type::UINT32:
        return plain<arrow::UInt32Array>(array, at::kLong);
      case arrow::Type::UINT64:
        return plain<arrow::UInt64Array>(array, at::kLong);
      case arrow::Type::BOOL: {
        const auto& bits = static_cast<const arrow::BooleanArray&>(array);
        Tensor values = at::empty({array.length()}, at::kBool);
        auto* to = values.mutable_data_ptr<bool>();
        for (int64_t i = 0; i < array.length(); ++i) to[i] = bits.Value(i);
        return values;
      }
      default:
        throw Error(ErrorCategory::bad_file,
                    name_ + ": holds " + array.type()->ToString() + ", expected numbers");
    }
  }

  std::string name_;
  int64_t width_, rows_ = 0;
  Nulls nulls_;
  std::vector<Tensor> parts_;
};

// The text at a place of a string column; missing texts are empty.
std::string text_at(const arrow::Array& array, int64_t i, const std::string& name) {
  if (array.IsNull(i)) return {};
  switch (array.type_id()) {
    case arrow::Type::STRING:
    case arrow::Type::BINARY:
      return static_cast<const arrow::BinaryArray&>(array).GetString(i);
    case arrow::Type::LARGE_STRING:
    case arrow::Type::LARGE_BINARY:
      return static_cast<const arrow::LargeBinaryArray&>(array).GetString(i);
    case arrow::Type::DICTIONARY: {
      const auto& coded = static_cast<const arrow::DictionaryArray&>(array);
      return text_at(*coded.dictionary(), coded.GetValueIndex(i), name);
    }
    default:
      throw Error(ErrorCategory::bad_file,
                  name + ": holds " + array.type()->ToString() + ", expected texts");
  }
}

template <class List>
std::vector<std::string> texts_of(const List& list, int64_t row, const std::string& name) {
  std::vector<std::string> texts;
  for (int64_t i = 0; i < list.value_length(row); ++i)
    texts.push_back(text_at(*list.values(), list.value_offset(row) + i, name));
  return texts;
}

}  // namespace

struct ParquetFile::Impl {
  std::string path;
  std::unique_ptr<parquet::arrow::FileReader> reader;
  int64_t rows = 0;
  std::vector<std::string> columns;
  std::vector<int64_t> group_rows;

  template <class Work>
  auto guarded(const std::string& what, Work&& work) const {
    try {
      return work();
    } catch (const parquet::ParquetException& error) {
      throw Error(ErrorCategory::bad_file, what + ": " + error.what());
    }
  }

  void check(const arrow::Status& status, const std::string& what) const {
    require(status.ok(), ErrorCategory::bad_file, what + ": " + status.ToString());
  }

  std::string name_of(const std::string& column) const {
    return path + ": column '" + column + "'";
  }

  int field(const std::string& column) const {
    const auto found = std::find(columns.begin(), columns.end(), column);
    if (found == columns.end())
      throw Error(ErrorCategory::not_found, path + ": has no column '" + column + "'");
    return static_cast<int>(found - columns.begin());
  }

  std::vector<std::shared_ptr<arrow::Array>> chunks(const std::string& column) const {
    const int number = field(column);
    return guarded(name_of(column), [&] {
      std::shared_ptr<arrow::ChunkedArray> array;
      check(reader->ReadColumn(number, &array), name_of(column));
      require(array->length() == rows, ErrorCategory::bad_file,
              name_of(column) + ": has " + std::to_string(array->length()) +
                  " rows, but the file says " + std::to_string(rows));
      return array->chunks();
    });
  }
};

ParquetFile::ParquetFile(const fs::path& path) : impl_(std::make_unique<Impl>()) {
  impl_->path = path.string();
  require(fs::is_regular_file(path), ErrorCategory::not_found, path.string() + ": no such file");
  impl_->guarded(impl_->path, [&] {
    auto file = arrow::io::ReadableFile::Open(path.string());
    impl_->check(file.status(), impl_->path);
    parquet::arrow::FileReaderBuilder builder;
    impl_->check(builder.Open(*file), impl_->path);
    impl_->check(builder.Build(&impl_->reader), impl_->path);
    std::shared_ptr<arrow::Schema> schema;
    impl_->check(impl_->reader->GetSchema(&schema), impl_->path);
    impl_->columns = schema->field_names();
    const auto metadata = impl_->reader->parquet_reader()->metadata();
    impl_->rows = metadata->num_rows();
    for (int g = 0; g < metadata->num_row_groups(); ++g)
      impl_->group_rows.push_back(metadata->RowGroup(g)->num_rows());
    return 0;
  });
}

ParquetFile::~ParquetFile() = default;

int64_t ParquetFile::rows() const { return impl_->rows; }
const std::vector<std::string>& ParquetFile::columns() const { return impl_->columns; }
const std::vector<int64_t>& ParquetFile::group_rows() const { return impl_->group_rows; }
bool ParquetFile::has(const std::string& column) const {
  return std::find(impl_->columns.begin(), impl_->columns.end(), column) != impl_->columns.end();
}

Tensor ParquetFile::numbers(const std::string& column, int64_t width, Nulls nulls) const {
  NumberColumn numbers(impl_->name_of(column), width, nulls);
  for (const auto& chunk : impl_->chunks(column)) numbers.add(chunk);
  return numbers.all();
}

std::vector<std::string> ParquetFile::texts(const std::string& column) const {
  std::vector<std::string> all;
  for (const auto& chunk : impl_->chunks(column))
    for (int64_t i = 0; i < chunk->length(); ++i)
      all.push_back(text_at(*chunk, i, impl_->name_of(column)));
  return all;
}

std::vector<std::vector<std::string>> ParquetFile::text_lists(const std::string& column) const {
  const auto name = impl_->name_of(column);
  std::vector<std::vector<std::string>> all;
  for (const auto& chunk : impl_->chunks(column))
    for (int64_t i = 0; i < chunk->length(); ++i) {
      if (chunk->type_id() == arrow::Type::LIST)
        all.push_back(texts_of(static_cast<const arrow::ListArray&>(*chunk), i, name));
      else if (chunk->type_id() == arrow::Type::LARGE_LIST)
        all.push_back(texts_of(static_cast<const arrow::LargeListArray&>(*chunk), i, name));
      else
        throw Error(ErrorCategory::bad_file,
                    name + ": holds " + chunk->type()->ToString() + ", expected lists of texts");
    }
  return all;
}

FileBytes ParquetFile::bytes_of(const std::string& column, int64_t group) const {
  return impl_->guarded(impl_->name_of(column), [&] {
    const auto metadata = impl_->reader->parquet_reader()->metadata();
    const auto rows = metadata->RowGroup(static_cast<int>(group));
    int64_t first = std::numeric_limits<int64_t>::max(), end = 0;
    for (int leaf = 0; leaf < metadata->num_columns(); ++leaf) {  // bytes and path of a picture
      if (metadata->schema()->Column(leaf)->path()->ToDotVector().front() != column) continue;
      const auto chunk = rows->ColumnChunk(leaf);
      int64_t start = chunk->data_page_offset();
      if (chunk->has_dictionary_page()) start = std::min(start, chunk->dictionary_page_offset());
      first = std::min(first, start);
      end = std::max(end, start + chunk->total_compressed_size());
    }
    return FileBytes{first, end - first};
  });
}

std::vector<std::string> ParquetFile::pictures(const std::string& column, int64_t group) const {
  const auto name = impl_->name_of(column);
  const int number = impl_->field(column);
  const auto array = impl_->guarded(name, [&] {
    std::shared_ptr<arrow::ChunkedArray> read;
    impl_->check(impl_->reader->RowGroup(static_cast<int>(group))->Column(number)->Read(&read),
                 name);
    return read;
  });
  std::vector<std::string> all;
  for (const auto& chunk : array->chunks()) {
    const arrow::Array* bytes = chunk.get();
    std::shared_ptr<arrow::Array> child;
    if (chunk->type_id() == arrow::Type::STRUCT) {
      child = static_cast<const arrow::StructArray&>(*chunk).GetFieldByName("bytes");
      require(child != nullptr, ErrorCategory::bad_file, name + ": has no field 'bytes'");
      bytes = child.get();
    }
    for (int64_t i = 0; i < bytes->length(); ++i) all.push_back(text_at(*bytes, i, name));
  }
  return all;
}

bool has_parquet() { return true; }

}  // namespace foresight::data

#else

namespace foresight::data {
namespace {

[[noreturn]] void refuse_without_parquet(const std::string& path) {
  throw Error(ErrorCategory::unsupported, path + ": " + kNoParquet);
}

}  // namespace

struct ParquetFile::Impl {};
ParquetFile::ParquetFile(const std::filesystem::path& path) {
  refuse_without_parquet(path.string());
}
ParquetFile::~ParquetFile() = default;
int64_t ParquetFile::rows() const { return 0; }
const std::vector<std::string>& ParquetFile::columns() const { refuse_without_parquet({}); }
const std::vector<int64_t>& ParquetFile::group_rows() const { refuse_without_parquet({}); }
bool ParquetFile::has(const std::string&) const { return false; }
Tensor ParquetFile::numbers(const std::string&, int64_t, Nulls) const { return {}; }
std::vector<std::string> ParquetFile::texts(const std::string&) const { return {}; }
std::vector<std::vector<std::string>> ParquetFile::text_lists(const std::string&) const {
  return {};
}
std::vector<std::string> ParquetFile::pictures(const std::string&, int64_t) const { return {}; }
FileBytes ParquetFile::bytes_of(const std::string&, int64_t) const { return {}; }

bool has_parquet() { return false; }

}  // namespace foresight::data

#endif
