// SPDX-License-Identifier: Apache-2.0
// Reader and writer of safetensors files (https://github.com/huggingface/safetensors, format
// section): the one tensor file of the library. A file is untrusted: nothing is allocated or read
// before every size and offset is checked.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "foresight/core/tensor.hpp"

namespace foresight::io {

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

/// An open safetensors file, mapped into memory. Cheap to copy (copies share the mapping), safe to
/// read from several threads.
///
/// The mapping is private: writing into a tensor changes memory, never the file. Tensors obtained
/// by two calls of at() for one name share memory, so clone() before changing one in place. The
/// file must not be shortened by others while tensors are alive; files that this library replaces
/// are renamed into place and safe.
class FORESIGHT_API SafeTensors {
 public:
  /// Opens and validates a file. Throws Error: not_found; bad_file if it is truncated, has a
  /// damaged header, holes or overlaps, duplicate names, sizes that do not fit; unsupported for a
  /// data type that torch lacks; io_failure.
  static SafeTensors open(const std::filesystem::path& path);

  /// Names in alphabetical order.
  const std::vector<std::string>& names() const noexcept;
  bool has(std::string_view name) const noexcept;

  /// The tensor on the CPU: a view of the mapping, which it keeps alive, or a copy where the data
  /// is not aligned for its type. Throws Error(not_found) with the nearest name; Error(bad_file)
  /// for a BOOL tensor with other values than 0 and 1.
  Tensor at(std::string_view name) const;

  /// Every tensor whose name begins with `prefix`, under the rest of its name, in alphabetical
  /// order; all by default.
  NamedTensors tensors(std::string_view prefix = {}) const;

  /// Shape and type without touching the data. Throw as at().
  const std::vector<int64_t>& shape(std::string_view name) const;
  at::ScalarType dtype(std::string_view name) const;

  /// The file's free text entries; empty if it has none.
  const std::map<std::string, std::string>& metadata() const noexcept;
  const std::filesystem::path& path() const noexcept;

  /// As open(), for an already opened regular file; `path` is the name in messages. Does not close
  /// `descriptor`.
  static SafeTensors from_descriptor(int descriptor, const std::filesystem::path& path);

 private:
  friend FORESIGHT_API void require_checksum(const SafeTensors& file);
  bool found_whole() const noexcept;  // by require_checksum()
  void note_whole() const noexcept;

  struct Contents;
  explicit SafeTensors(std::shared_ptr<const Contents> contents);
  std::shared_ptr<const Contents> contents_;
};

/// Writes `tensors` (any device, strides and order; data is laid out by element size, then name, so
/// equal content gives equal bytes) with replace_file_atomically(). Throws Error: invalid_argument
/// for an undefined or sparse tensor, a name that is empty, repeated, "__metadata__" or not UTF-8;
/// unsupported for a type that the format lacks; io_failure, with the previous file untouched.
FORESIGHT_API void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                                     const std::map<std::string, std::string>& metadata = {});

}  // namespace foresight::io
