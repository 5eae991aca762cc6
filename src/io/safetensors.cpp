// SPDX-License-Identifier: Apache-2.0
#include "foresight/io/safetensors.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

#include "descriptor.hpp"
#include "foresight/core/error.hpp"
#include "lfs_pointer.hpp"
#include "mapping.hpp"
#include "safetensors_header.hpp"

namespace foresight::io {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

struct SafeTensors::Contents {
  fs::path path;
  std::shared_ptr<Mapping> mapping;
  std::uint64_t data_start = 0;
  SafeTensorsHeader header;
  std::vector<std::string> names;
  mutable std::atomic<bool> whole = false;

  const TensorEntry& entry(std::string_view name) const {
    if (const auto found = header.tensors.find(name); found != header.tensors.end())
      return found->second;
    const auto suggestion = nearest_name(name, names);
    throw Error(ErrorCategory::not_found,
                path.string() + ": no tensor '" + std::string(name) + "' among its " +
                    std::to_string(names.size()) +
                    (suggestion.empty() ? "" : ", did you mean '" + suggestion + "'?"));
  }
};

SafeTensors::SafeTensors(std::shared_ptr<const Contents> contents)
    : contents_(std::move(contents)) {}

SafeTensors SafeTensors::open(const fs::path& path) {
  struct stat status {};
  const Descriptor file = open_regular(AT_FDCWD, path, path, status);
  return from_descriptor(file.get(), path);
}

SafeTensors SafeTensors::from_descriptor(int descriptor, const fs::path& path) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) throw system_error(path, "read its size");
  const auto size = static_cast<std::uint64_t>(status.st_size);
  const std::string file = path.string();
  require(size >= kLengthBytes, ErrorCategory::bad_file,
          file + ": has " + std::to_string(size) + " bytes, a safetensors file has at least 8");
  auto contents = std::make_shared<Contents>();
  contents->path = path;
  contents->mapping = std::make_shared<Mapping>(descriptor, size, path);
  const char* bytes = contents->mapping->bytes();

  std::uint64_t header_size = 0;
  std::memcpy(&header_size, bytes, sizeof header_size);
  require_no_lfs_pointer({bytes, size}, file);
  require(header_size <= kMaxHeaderBytes, ErrorCategory::bad_file,
          file + ": header length " + std::to_string(header_size) +
              " exceeds the format's limit of " + std::to_string(kMaxHeaderBytes) +
              "; this is not a safetensors file");
  require(header_size <= size - kLengthBytes, ErrorCategory::bad_file,
          file + ": header length " + std::to_string(header_size) + " exceeds the file's " +
              std::to_string(size) + " bytes; it is truncated or not a safetensors file");
  contents->data_start = kLengthBytes + header_size;
  contents->header = parse_safetensors_header({bytes + kLengthBytes, header_size},
                                              size - contents->data_start, file);
  contents->names.reserve(contents->header.tensors.size());
  for (const auto& [name, entry] : contents->header.tensors) contents->names.push_back(name);
  return SafeTensors(std::move(contents));
}

const std::vector<std::string>& SafeTensors::names() const noexcept { return contents_->names; }

bool SafeTensors::has(std::string_view name) const noexcept {
  return contents_->header.tensors.contains(name);
}

Tensor SafeTensors::at(std::string_view name) const {
  const TensorEntry& entry = contents_->entry(name);
  const auto options = at::TensorOptions().dtype(entry.dtype);
  const std::uint64_t bytes = entry.end - entry.begin;
  if (bytes == 0) return at::empty(entry.shape, options);

  char* data = contents_->mapping->bytes() + contents_->data_start + entry.begin;
  if (entry.dtype == at::kBool) {
    // A bool that is neither 0 nor 1 is undefined behaviour in every kernel that reads it.
    const auto* end = data + bytes;
    const auto* odd =
        std::find_if(data, data + bytes, [](char value) { return (value & ~1) != 0; });
    require(odd == end, ErrorCategory::bad_file,
            contents_->path.string() + ": BOOL tensor '" + std::string(name) +
                "' holds a byte that is neither 0 nor 1");
  }
  if (reinterpret_cast<std::uintptr_t>(data) % c10::elementSize(entry.dtype) != 0) {
    Tensor copy = at::empty(entry.shape, options);
    std::memcpy(copy.mutable_data_ptr(), data, bytes);
    return copy;
  }
  return at::from_blob(
      data, entry.shape, [mapping = contents_->mapping](void*) {}, options);
}

NamedTensors SafeTensors::tensors(std::string_view prefix) const {
  NamedTensors result;
  for (const auto& name : contents_->names)
    if (name.starts_with(prefix)) result.emplace_back(name.substr(prefix.size()), at(name));
  return result;
}

const std::vector<int64_t>& SafeTensors::shape(std::string_view name) const {
  return contents_->entry(name).shape;
}

at::ScalarType SafeTensors::dtype(std::string_view name) const {
  return contents_->entry(name).dtype;
}

const std::map<std::string, std::string>& SafeTensors::metadata() const noexcept {
  return contents_->header.metadata;
}

const fs::path& SafeTensors::path() const noexcept { return contents_->path; }

bool SafeTensors::found_whole() const noexcept { return contents_->whole; }

void SafeTensors::note_whole() const noexcept { contents_->whole = true; }

}  // namespace foresight::io
