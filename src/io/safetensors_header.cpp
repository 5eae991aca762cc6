// SPDX-License-Identifier: Apache-2.0
#include "safetensors_header.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "foresight/core/error.hpp"
#include "foresight/core/tensor.hpp"

namespace foresight::io {

namespace {

constexpr std::array<std::pair<std::string_view, at::ScalarType>, 17> kDtypes{{
    {"BOOL", at::kBool},
    {"U8", at::kByte},
    {"I8", at::kChar},
    {"I16", at::kShort},
    {"U16", at::kUInt16},
    {"I32", at::kInt},
    {"U32", at::kUInt32},
    {"I64", at::kLong},
    {"U64", at::kUInt64},
    {"F16", at::kHalf},
    {"BF16", at::kBFloat16},
    {"F32", at::kFloat},
    {"F64", at::kDouble},
    {"C64", at::kComplexFloat},
    {"F8_E4M3", at::kFloat8_e4m3fn},
    {"F8_E5M2", at::kFloat8_e5m2},
    {"F8_E8M0", at::kFloat8_e8m0fnu},
}};

/// Types of the format that torch cannot hold: packed elements smaller than a byte.
constexpr std::array<std::string_view, 3> kPackedDtypes{"F4", "F6_E2M3", "F6_E3M2"};

/// Most axes of a tensor; several ATen operations keep axes in a 64 bit mask.
constexpr std::size_t kMaxAxes = 64;

/// Receives the JSON header piece by piece. No tree is built: anything but
/// {"name": {"dtype": "...", "shape": [...], "data_offsets": [...]}, "__metadata__": {"...":
/// "..."}} stops the parse at once, so neither deep nesting nor repeated keys get anywhere.
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(const std::string& file) : file_(file) {}
  SafeTensorsHeader take() { return std::move(header_); }

  bool start_object(std::size_t) override {
    if (level_ == Level::outside) {
      level_ = Level::file;
    } else if (level_ == Level::file) {
      level_ = name_ == kMetadataKey ? Level::metadata : Level::tensor;
      entry_ = {};
      seen_ = {};
    } else {
      fail("an object where a value is expected");
    }
    return true;
  }

  bool key(std::string& text) override {
    if (level_ == Level::file) {
      name_ = text;
      const bool repeated = name_ == kMetadataKey ? std::exchange(has_metadata_, true)
                                                  : header_.tensors.contains(name_);
      if (repeated) fail("appears twice");
      if (name_.empty()) throw bad("a tensor has an empty name");
    } else {
      field_ = text;
      if (level_ == Level::metadata && header_.metadata.contains(field_))
        fail("key '" + field_ + "' appears twice");
      if (level_ == Level::tensor && !seen_.insert(field_).second)
        fail("key '" + field_ + "' appears twice");
    }
    return true;
  }

  bool end_object() override {
    if (level_ == Level::tensor) {
      for (const char* required : {"dtype", "shape", "data_offsets"})
        if (!seen_.contains(required)) fail(std::string("has no '") + required + "'");
      header_.tensors.emplace(name_, std::move(entry_));
    }
    level_ = level_ == Level::file ? Level::outside : Level::file;
    return true;
  }

  bool start_array(std::size_t) override {
    if (level_ != Level::tensor || (field_ != "shape" && field_ != "data_offsets"))
      fail("an array where none is expected");
    level_ = Level::array;
    offsets_ = 0;
    return true;
  }

  bool end_array() override {
    if (field_ == "data_offsets" && offsets_ != 2)
      fail("data_offsets has " + std::to_string(offsets_) + " numbers, expected 2");
    level_ = Level::tensor;
    return true;
  }

  bool number_unsigned(std::uint64_t value) override {
    if (level_ != Level::array) fail("a number where none is expected");
    if (value > static_cast<std::uint64_t>(std::numeric_limits<int64_t>::max()))
      fail(field_ + " holds " + std::to_string(value) + ", which does not fit 63 bits");
    if (field_ == "shape") {
      if (entry_.shape.size() == kMaxAxes)
        fail("has more than " + std::to_string(kMaxAxes) + " axes");
      entry_.shape.push_back(static_cast<int64_t>(value));
    } else {
      if (offsets_ == 0) entry_.begin = value;
      if (offsets_ == 1) entry_.end = value;
      ++offsets_;
    }
    return true;
  }

  bool string(std::string& text) override {
    if (level_ == Level::metadata) {
      header_.metadata.emplace(field_, text);
    } else if (level_ == Level::tensor && field_ == "dtype") {
      entry_.dtype = dtype(text);
    } else {
      fail("a text where none is expected");
    }
    return true;
  }

  bool null() override { return fail("null is not a valid value"); }
  bool boolean(bool) override { return fail("true and false are not valid values"); }
  bool number_integer(std::int64_t value) override {
    return fail("negative number " + std::to_string(value));
  }
  bool number_float(double, const std::string& text) override {
    return fail("number " + text + " is not a whole number that fits 63 bits");
  }
  bool binary(nlohmann::json::binary_t&) override { return fail("binary data in the header"); }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    throw bad("header is not valid JSON at byte " + std::to_string(position));
  }

 private:
  enum class Level { outside, file, metadata, tensor, array };

  Error bad(const std::string& problem) const {
    return Error(ErrorCategory::bad_file, file_ + ": " + problem);
  }

  /// Throws with the entry being read; returns bool only to fit the interface.
  bool fail(const std::string& problem) const {
    if (level_ == Level::outside) throw bad("header is not an object: " + problem);
    if (name_ == kMetadataKey) throw bad("__metadata__ " + problem + " (texts only)");
    throw bad("tensor '" + name_ + "' " + problem);
  }

  at::ScalarType dtype(const std::string& text) const {
    for (const auto& [known, type] : kDtypes)
      if (known == text) return type;
    const bool packed =
        std::find(kPackedDtypes.begin(), kPackedDtypes.end(), text) != kPackedDtypes.end();
    throw Error(
        packed ? ErrorCategory::unsupported : ErrorCategory::bad_file,
        file_ + ": tensor '" + name_ + "' has dtype '" + text + "', accepted: " + accepted());
  }

  static std::string accepted() {
    std::string list;
    for (const auto& [known, type] : kDtypes)
      list += (list.empty() ? "" : " ") + std::string(known);
    return list;
  }

  const std::string& file_;
  Level level_ = Level::outside;
  std::string name_;
  std::string field_;
  TensorEntry entry_;
  std::set<std::string> seen_;
  int offsets_ = 0;
  bool has_metadata_ = false;
  SafeTensorsHeader header_;
};

/// Bytes of a tensor, or nothing where sizes or strides would not fit an int64. Zero sizes count as
/// one, because strides are computed as if they were.
std::optional<std::uint64_t> byte_count(const TensorEntry& entry) {
  int64_t product = static_cast<int64_t>(c10::elementSize(entry.dtype));
  bool empty = false;
  for (const int64_t size : entry.shape) {
    empty = empty || size == 0;
    if (__builtin_mul_overflow(product, std::max<int64_t>(size, 1), &product)) return std::nullopt;
  }
  return empty ? 0 : static_cast<std::uint64_t>(product);
}

void check_sizes(const SafeTensorsHeader& header, const std::string& file) {
  for (const auto& [name, entry] : header.tensors) {
    const std::string tensor = file + ": tensor '" + name + "' ";
    const auto bytes = byte_count(entry);
    require(bytes.has_value(), ErrorCategory::bad_file,
            tensor + "has shape " + shape_string(entry.shape) + ", whose size overflows");
    require(entry.begin <= entry.end && entry.end - entry.begin == *bytes, ErrorCategory::bad_file,
            tensor + "has data_offsets [" + std::to_string(entry.begin) + ", " +
                std::to_string(entry.end) + "], but shape " + shape_string(entry.shape) +
                " needs " + std::to_string(*bytes) + " bytes");
  }
}

/// The tensors must tile the data section exactly.
void check_layout(const SafeTensorsHeader& header, std::uint64_t data_size,
                  const std::string& file) {
  using Item = std::pair<const std::string, TensorEntry>;
  std::vector<const Item*> order;
  order.reserve(header.tensors.size());
  for (const auto& item : header.tensors) order.push_back(&item);
  std::sort(order.begin(), order.end(), [](const Item* a, const Item* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  std::uint64_t covered = 0;
  for (const Item* item : order) {
    const auto& [name, entry] = *item;
    require(entry.begin == covered, ErrorCategory::bad_file,
            file + ": tensor '" + name + "' begins at byte " + std::to_string(entry.begin) +
                (entry.begin < covered ? ", inside another tensor; expected "
                                       : ", after a hole; expected ") +
                std::to_string(covered));
    covered = entry.end;
    require(covered <= data_size, ErrorCategory::bad_file,
            file + ": tensor '" + name + "' ends at byte " + std::to_string(covered) +
                " of the data, but the file holds only " + std::to_string(data_size) +
                "; it is truncated or damaged");
  }
  require(covered == data_size, ErrorCategory::bad_file,
          file + ": tensors cover " + std::to_string(covered) +
              " bytes of data, but the file holds " + std::to_string(data_size));
}

}  // namespace

SafeTensorsHeader parse_safetensors_header(std::string_view text, std::uint64_t data_size,
                                           const std::string& file) {
  require(text.starts_with('{'), ErrorCategory::bad_file,
          file + ": header does not begin with '{'; this is not a safetensors file");
  // The parser takes a zero byte for the end of its input and would not see what follows.
  require(text.find('\0') == std::string_view::npos, ErrorCategory::bad_file,
          file + ": header is not valid JSON: it holds a zero byte");
  HeaderReader reader(file);
  nlohmann::json::sax_parse(text.begin(), text.end(), &reader);  // throws through the reader
  SafeTensorsHeader header = reader.take();
  check_sizes(header, file);
  check_layout(header, data_size, file);
  return header;
}

std::optional<std::string_view> safetensors_dtype_name(at::ScalarType dtype) {
  for (const auto& [name, type] : kDtypes)
    if (type == dtype) return name;
  return std::nullopt;
}

}  // namespace foresight::io
