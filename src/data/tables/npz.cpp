// SPDX-License-Identifier: Apache-2.0
#include "npz.hpp"

#include <zlib.h>

#include <charconv>
#include <cstring>

#include "foresight/core/error.hpp"
#include "foresight/io/files.hpp"
#include "foresight/io/zip_directory.hpp"

namespace foresight::data {
namespace {

constexpr std::uint64_t kLargestArray = std::uint64_t{1} << 36;  // bytes
constexpr std::size_t kLongestHeader = std::size_t{1} << 16;

struct NpyHeader {
  std::string type;
  bool fortran = false;
  std::vector<int64_t> shape;
};

// The header is a Python dictionary: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }
class NpyHeaderParser {
 public:
  NpyHeaderParser(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  NpyHeader parse() {
    NpyHeader header;
    int seen = 0;
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr")
        header.type = quoted();
      else if (key == "fortran_order")
        header.fortran = boolean();
      else if (key == "shape")
        header.shape = shape();
      else
        fail("unknown key '" + key + "'");
      ++seen;
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_blanks();
    if (!text_.empty()) fail("text after its dictionary");
    if (seen != 3 || header.type.empty()) fail("not the three keys descr, fortran_order, shape");
    return header;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCategory::bad_file, name_ + ": damaged npy header: " + what);
  }
  void skip_blanks() {
    while (!text_.empty() && (text_.front() == ' ' || text_.front() == '\n'))
      text_.remove_prefix(1);
  }
  bool accept(char wanted) {
    skip_blanks();
    if (text_.empty() || text_.front() != wanted) return false;
    text_.remove_prefix(1);
    return true;
  }
  void expect(char wanted) {
    if (!accept(wanted)) fail(std::string("expected '") + wanted + "'");
  }
  std::string quoted() {
    skip_blanks();
    // A structured type is a list here.
    if (text_.starts_with('['))
      throw Error(ErrorCategory::unsupported, name_ + ": an array of records, expected numbers");
    expect('\'');
    const auto end = text_.find('\'');
    if (end == std::string_view::npos) fail("open quote");
    const std::string value(text_.substr(0, end));
    text_.remove_prefix(end + 1);
    return value;
  }
  bool boolean() {
    skip_blanks();
    for (const std::string_view word : {"True", "False"})
      if (text_.starts_with(word)) {
        text_.remove_prefix(word.size());
        return word == "True";
      }
    fail("expected True or False");
  }
  std::vector<int64_t> shape() {
    std::vector<int64_t> sizes;
    expect('(');
    while (!accept(')')) {
      skip_blanks();
      int64_t size = -1;
      const auto [stop, code] = std::from_chars(text_.data(), text_.data() + text_.size(), size);
      if (code != std::errc() || size < 0 || sizes.size() >= 16) fail("shape is no list of sizes");
      text_.remove_prefix(static_cast<std::size_t>(stop - text_.data()));
      sizes.push_back(size);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return sizes;
  }

  std::string_view text_;
  const std::string& name_;
};

template <class Stored>
Tensor widened(const char* bytes, int64_t count) {
  Tensor values = at::empty({count}, at::kLong);
  auto* to = values.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < count; ++i) {
    Stored value;
    std::memcpy(&value, bytes + i * static_cast<int64_t>(sizeof value), sizeof value);
    to[i] = static_cast<int64_t>(value);
  }
  return values;
}

struct NpyType {
  std::string_view descr;
  std::size_t bytes;
  at::ScalarType type;
};
constexpr NpyType kNpyTypes[] = {
    {"<f2", 2, at::kHalf},  {"<f4", 4, at::kFloat}, {"<f8", 8, at::kDouble}, {"|i1", 1, at::kChar},
    {"<i2", 2, at::kShort}, {"<i4", 4, at::kInt},   {"<i8", 8, at::kLong},   {"|u1", 1, at::kByte},
    {"|b1", 1, at::kByte},  {"<u2", 2, at::kLong},  {"<u4", 4, at::kLong},   {"<u8", 8, at::kLong}};

Tensor number_values(const NpyType& type, const char* bytes, int64_t count) {
  if (type.descr == "<u2") return widened<std::uint16_t>(bytes, count);
  if (type.descr == "<u4") return widened<std::uint32_t>(bytes, count);
  if (type.descr == "<u8") return widened<std::uint64_t>(bytes, count);
  Tensor values = at::empty({count}, type.type);
  if (count > 0)
    std::memcpy(values.mutable_data_ptr(), bytes, static_cast<std::size_t>(count) * type.bytes);
  return type.descr == "|b1" ? values.ne(0) : values;
}

// UTF-32 to UTF-8; what is no character becomes U+FFFD.
std::string utf8(const char* bytes, std::size_t characters) {
  std::string text;
  for (std::size_t i = 0; i < characters; ++i) {
    std::uint32_t code = 0;
    std::memcpy(&code, bytes + 4 * i, 4);
    if (code == 0) break;
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) code = 0xFFFD;
    if (code < 0x80) {
      text += static_cast<char>(code);
    } else if (code < 0x800) {
      text += static_cast<char>(0xC0 | code >> 6);
      text += static_cast<char>(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
      text += static_cast<char>(0xE0 | code >> 12);
      text += static_cast<char>(0x80 | (code >> 6 & 0x3F));
      text += static_cast<char>(0x80 | (code & 0x3F));
    } else {
      text += static_cast<char>(0xF0 | code >> 18);
      text += static_cast<char>(0x80 | (code >> 12 & 0x3F));
      text += static_cast<char>(0x80 | (code >> 6 & 0x3F));
      text += static_cast<char>(0x80 | (code & 0x3F));
    }
  }
  return text;
}

int64_t element_count(const NpyHeader& header, std::size_t bytes, const std::string& name) {
  std::uint64_t count = 1;
  for (const int64_t size : header.shape) {
    require(size == 0 || count <= kLargestArray / static_cast<std::uint64_t>(size),
            ErrorCategory::bad_file, name + ": its shape is too large");
    count *= static_cast<std::uint64_t>(size);
  }
  require(bytes == 0 || count <= kLargestArray / bytes, ErrorCategory::bad_file,
          name + ": its shape is too large");
  return static_cast<int64_t>(count);
}

void require_data(std::string_view data, std::uint64_t bytes, const std::string& name) {
  require(data.size() == bytes, ErrorCategory::bad_file,
          name + ": holds " + std::to_string(data.size()) + " bytes of data, its shape needs " +
              std::to_string(bytes));
}

NpyArray text_array(const NpyHeader& header, std::string_view data, const std::string& name) {
  std::size_t characters = 0;
  const char* end = header.type.data() + header.type.size();
  const auto [stop, code] = std::from_chars(header.type.data() + 2, end, characters);
  require(code == std::errc() && stop == end && characters < (std::size_t{1} << 20) &&
              header.shape.size() == 1,
          ErrorCategory::unsupported,
          name + ": texts of type '" + header.type + "' in " + std::to_string(header.shape.size()) +
              " dimensions, expected a list of texts");
  NpyArray array{.text = true};
  const int64_t count = element_count(header, 4 * characters, name);
  require(characters > 0 || count < (int64_t{1} << 24), ErrorCategory::bad_file,
          name + ": its shape is too large");
  require_data(data, static_cast<std::uint64_t>(count) * 4 * characters, name);
  for (int64_t i = 0; i < count; ++i)
    array.texts.push_back(
        utf8(data.data() + static_cast<std::size_t>(i) * 4 * characters, characters));
  return array;
}

std::string inflated(std::string_view stored, const std::string& name) {
  std::string bytes;
  z_stream stream{};
  require(inflateInit2(&stream, -MAX_WBITS) == Z_OK, ErrorCategory::io_failure,
          name + ": zlib does not start");
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(stored.data()));
  stream.avail_in = static_cast<uInt>(stored.size());
  std::vector<char> piece(std::size_t{1} << 20);
  int code = Z_OK;
  while (code == Z_OK && bytes.size() <= kLargestArray) {
    stream.next_out = reinterpret_cast<Bytef*>(piece.data());
    stream.avail_out = static_cast<uInt>(piece.size());
    code = inflate(&stream, Z_NO_FLUSH);
    bytes.append(piece.data(), piece.size() - stream.avail_out);
  }
  inflateEnd(&stream);
  require(code == Z_STREAM_END, ErrorCategory::bad_file, name + ": its compressed data is damaged");
  return bytes;
}

}  // namespace

NpyArray parse_npy(std::string_view bytes, const std::string& name) {
  const auto damaged = [&](const std::string& what) {
    throw Error(ErrorCategory::bad_file, name + ": " + what);
  };
  if (!bytes.starts_with("\x93NUMPY") || bytes.size() < 12) damaged("is no npy array");
  const int major = static_cast<unsigned char>(bytes[6]);
  if (major < 1 || major > 3) damaged("npy format " + std::to_string(major) + ", accepted: 1 to 3");
  const std::size_t width = major == 1 ? 2 : 4;  // bytes of the header's size
  std::uint32_t size = 0;
  std::memcpy(&size, bytes.data() + 8, width);
  const std::size_t begin = 8 + width;
  if (size > kLongestHeader || size > bytes.size() - begin) damaged("its npy header is cut off");
  const NpyHeader header = NpyHeaderParser(bytes.substr(begin, size), name).parse();
  const std::string_view data = bytes.substr(begin + size);
  if (header.type.starts_with("<U")) return text_array(header, data, name);
  for (const auto& type : kNpyTypes) {
    if (type.descr != header.type) continue;
    const int64_t count = element_count(header, type.bytes, name);
    require_data(data, static_cast<std::uint64_t>(count) * type.bytes, name);
    const Tensor flat = number_values(type, data.data(), count);
    if (!header.fortran) return {.numbers = flat.reshape(header.shape)};
    const std::vector<int64_t> reversed(header.shape.rbegin(), header.shape.rend());
    std::vector<int64_t> order;
    for (auto d = static_cast<int64_t>(reversed.size()); d-- > 0;) order.push_back(d);
    return {.numbers = flat.reshape(reversed).permute(order).contiguous()};
  }
  throw Error(ErrorCategory::unsupported,
              name + ": array of type '" + header.type +
                  "', accepted: little-endian numbers, booleans and texts (Python objects are not "
                  "read)");
}

NpyArray read_npz(const std::filesystem::path& path) {
  const std::string file = io::read_text(path, kLargestArray);
  const auto directory = io::read_zip_directory(file, path.string());
  require(directory.size() == 1, ErrorCategory::bad_file,
          path.string() + ": holds " + std::to_string(directory.size()) + " arrays, expected one");
  const auto& [name, entry] = *directory.begin();
  const std::string where = path.string() + ": " + name;
  const std::string_view stored = std::string_view(file).substr(entry.begin, entry.size);
  if (entry.method == 0) return parse_npy(stored, where);
  require(entry.method == 8, ErrorCategory::unsupported,
          where + ": compressed by method " + std::to_string(entry.method) +
              ", accepted: stored, deflated");
  require(stored.size() < (std::uint64_t{1} << 32), ErrorCategory::unsupported,
          where + ": more than 4 GiB compressed");
  return parse_npy(inflated(stored, where), where);
}

}  // namespace foresight::data
