// SPDX-License-Identifier: Apache-2.0
#include "foresight/io/torch_checkpoint.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "foresight/core/error.hpp"
#include "foresight/io/zip_directory.hpp"
#include "lfs_pointer.hpp"
#include "mapping.hpp"
#include "torch_names.hpp"
#include "torch_pickle.hpp"

namespace foresight::io {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "checkpoints hold little-endian data");

namespace {

/// What else people call a checkpoint, by its first bytes, and what to do about it.
struct OtherFormat {
  std::string_view first_bytes;
  ErrorCategory category;
  const char* advice;
};
constexpr std::string_view kLegacyMagic =
    "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
constexpr std::array<OtherFormat, 4> kOtherFormats{{
    {kLegacyMagic, ErrorCategory::unsupported,
     "the format of torch before 1.6; write it anew in Python: "
     "torch.save(torch.load(FILE, map_location='cpu', weights_only=True), NEW)"},
    {"\x80", ErrorCategory::unsupported, "a bare pickle, expected a zip archive by torch.save"},
    {"\x1f\x8b", ErrorCategory::bad_file, "compressed by gzip; decompress it first"},
    {"\x89HDF", ErrorCategory::bad_file, "an HDF5 file"},
}};

[[noreturn]] void throw_other_format(std::string_view file, const std::string& name) {
  require_no_lfs_pointer(file, name);
  for (const auto& other : kOtherFormats)
    if (file.starts_with(other.first_bytes))
      throw Error(other.category, name + ": " + other.advice);
  constexpr std::uint64_t kTarMagicAt = 257;
  if (file.size() > kTarMagicAt && file.substr(kTarMagicAt).starts_with("ustar"))
    throw Error(ErrorCategory::unsupported,
                name +
                    ": a tar archive (torch before 0.2, or packed files); write it anew with a "
                    "current torch.save, or unpack it");
  const bool safetensors = file.size() > 9 && file[8] == '{';
  throw Error(ErrorCategory::bad_file,
              name + (safetensors ? ": looks like a safetensors file"
                                  : ": is not a zip archive, so not a checkpoint by torch.save"));
}

/// The folder inside the archive in which everything lies: the name that the file was saved under.
std::string find_root(const ZipDirectory& directory, const std::string& name) {
  constexpr std::string_view kPickle = "/data.pkl";
  std::string root;
  for (const auto& [entry, unused] : directory) {
    if (!entry.ends_with(kPickle)) continue;
    const auto folder = entry.substr(0, entry.size() - kPickle.size());
    if (folder.find('/') != std::string::npos) continue;
    require(root.empty(), ErrorCategory::bad_file,
            name + ": has both '" + root + kPickle.data() + "' and '" + entry + "'");
    root = folder;
  }
  require(!root.empty(), ErrorCategory::bad_file,
          name + ": a zip archive without data.pkl, so not a checkpoint by torch.save" +
              (directory.empty() ? "" : "; it holds '" + directory.begin()->first + "'"));
  const auto code = directory.lower_bound(root + "/code/");
  require(code == directory.end() || !code->first.starts_with(root + "/code/"),
          ErrorCategory::unsupported,
          name +
              ": a TorchScript program, expected weights; save them in Python: "
              "torch.save(torch.jit.load(FILE).state_dict(), NEW)");
  return root;
}

}  // namespace

struct TorchCheckpoint::Contents {
  fs::path path;
  std::shared_ptr<Mapping> mapping;
  std::string root;
  ZipDirectory directory;
  TorchNames found;
  std::vector<std::string> names;

  std::string_view bytes(const ZipEntry& entry) const {
    return mapping->view().substr(entry.begin, entry.size);
  }

  void check_byte_order() const {
    const auto entry = directory.find(root + "/byteorder");
    if (entry == directory.end()) return;  // torch before 2.1 wrote little-endian data only
    const auto order = bytes(entry->second);
    require(order == "little",
            order == "big" ? ErrorCategory::unsupported : ErrorCategory::bad_file,
            path.string() + ": byte order '" + std::string(order.substr(0, 20)) +
                "', expected little; write it anew on a little-endian machine");
  }

  const ZipEntry& storage_entry(const PickledStorage& storage, const std::string& tensor) const {
    const auto entry = directory.find(root + "/data/" + storage.key);
    const auto which =
        path.string() + ": tensor '" + tensor + "' lies in 'data/" + storage.key + "', ";
    require(entry != directory.end(), ErrorCategory::bad_file,
            which + "which is not in the archive");
    const auto needed = storage.count * c10::elementSize(storage.dtype);
    require(entry->second.size == needed, ErrorCategory::bad_file,
            which + "which has " + std::to_string(entry->second.size) +
                " bytes, but the pickle says " + std::to_string(storage.count) + " elements of " +
                c10::toString(storage.dtype));
    return entry->second;
  }

  const PickledTensor& tensor(std::string_view name) const {
    if (const auto entry = found.tensors.find(name); entry != found.tensors.end())
      return *entry->second;
    const auto suggestion = nearest_name(name, names);
    throw Error(ErrorCategory::not_found,
                path.string() + ": no tensor '" + std::string(name) + "' among its " +
                    std::to_string(names.size()) +
                    (suggestion.empty() ? "" : ", did you mean '" + suggestion + "'?"));
  }
};

TorchCheckpoint::TorchCheckpoint(std::shared_ptr<const Contents> contents)
    : contents_(std::move(contents)) {}

TorchCheckpoint TorchCheckpoint::open(const fs::path& path) {
  struct stat status {};
  const Descriptor file = open_regular(AT_FDCWD, path, path, status);
  return from_descriptor(file.get(), path);
}

TorchCheckpoint TorchCheckpoint::from_descriptor(int descriptor, const fs::path& path) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) throw system_error(path, "read its size");
  const std::string name = path.string();
  require(status.st_size > 0, ErrorCategory::bad_file, name + ": is empty");
  auto contents = std::make_shared<Contents>();
  contents->path = path;
  contents->mapping =
      std::make_shared<Mapping>(descriptor, static_cast<std::uint64_t>(status.st_size), path);
  const auto file = contents->mapping->view();
  if (!starts_like_zip(file)) throw_other_format(file, name);
  contents->directory = read_zip_directory(file, name);
  contents->root = find_root(contents->directory, name);
  require_stored(contents->directory, name);
  contents->check_byte_order();
  const auto& pickle = contents->directory.at(contents->root + "/data.pkl");
  contents->found = name_tensors(read_pickle(contents->bytes(pickle), name + ": data.pkl"), name);
  for (const auto& [key, tensor] : contents->found.tensors) {
    contents->storage_entry(*tensor->storage, key);  // throws if it does not fit
    contents->names.push_back(key);
  }
  return TorchCheckpoint(std::move(contents));
}

const std::vector<std::string>& TorchCheckpoint::names() const noexcept { return contents_->names; }

const std::vector<std::string>& TorchCheckpoint::groups() const noexcept {
  return contents_->found.groups;
}

bool TorchCheckpoint::has(std::string_view name) const noexcept {
  return contents_->found.tensors.contains(name);
}

Tensor TorchCheckpoint::at(std::string_view name) const {
  const PickledTensor& tensor = contents_->tensor(name);
  const auto options = at::TensorOptions().dtype(tensor.dtype);
  if (tensor.extent == 0) return at::empty(tensor.sizes, options);

  const auto& entry = contents_->storage_entry(*tensor.storage, std::string(name));
  const auto width = c10::elementSize(tensor.dtype);
  char* data =
      contents_->mapping->bytes() + entry.begin + static_cast<std::uint64_t>(tensor.offset) * width;
  const auto bytes = static_cast<std::uint64_t>(tensor.extent) * width;
  if (tensor.dtype == at::kBool) {
    // A bool that is neither 0 nor 1 is undefined behaviour in every kernel that reads it.
    require(std::all_of(data, data + bytes, [](char value) { return (value & ~1) == 0; }),
            ErrorCategory::bad_file,
            contents_->path.string() + ": bool tensor '" + std::string(name) +
                "' holds a byte that is neither 0 nor 1");
  }
  if (reinterpret_cast<std::uintptr_t>(data) % width != 0) {
    const Tensor copy = at::empty({tensor.extent}, options);
    std::memcpy(copy.mutable_data_ptr(), data, bytes);
    return copy.as_strided(tensor.sizes, tensor.strides);
  }
  return at::from_blob(
      data, tensor.sizes, tensor.strides, [mapping = contents_->mapping](void*) {}, options);
}

NamedTensors TorchCheckpoint::tensors(std::string_view prefix) const {
  NamedTensors result;
  for (const auto& name : contents_->names)
    if (name.starts_with(prefix)) result.emplace_back(name.substr(prefix.size()), at(name));
  return result;
}

const std::vector<int64_t>& TorchCheckpoint::shape(std::string_view name) const {
  return contents_->tensor(name).sizes;
}

at::ScalarType TorchCheckpoint::dtype(std::string_view name) const {
  return contents_->tensor(name).dtype;
}

const std::map<std::string, TorchScalar>& TorchCheckpoint::scalars() const noexcept {
  return contents_->found.scalars;
}

const fs::path& TorchCheckpoint::path() const noexcept { return contents_->path; }

}  // namespace foresight::io
