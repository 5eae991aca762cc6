// SPDX-License-Identifier: Apache-2.0
#include "foresight/io/checksum.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "foresight/core/error.hpp"
#include "foresight/io/crc32c.hpp"

namespace foresight::io {
namespace {

constexpr const char* kChecksum = "crc32c";

using Metadata = std::map<std::string, std::string>;

// Of tensors in alphabetical order, one at a time: those on a device need no second copy here.
std::string checksum_of(const NamedTensors& tensors, const Metadata& metadata) {
  std::uint32_t crc = 0;
  for (const auto& [name, text] : metadata)
    if (name != kChecksum) crc = crc32c(fmt::format("{}\n{}\n", name, text), crc);
  for (const auto& [name, tensor] : tensors) {
    // What no file can hold is for write_safetensors() to refuse.
    if (!tensor.defined() || tensor.layout() != at::kStrided) continue;
    crc = crc32c(fmt::format("{}\n{} {}\n", name, c10::toString(tensor.scalar_type()),
                             shape_string(tensor.sizes())),
                 crc);
    const Tensor dense = tensor.detach().resolve_conj().resolve_neg().to(at::kCPU).contiguous();
    crc = crc32c({static_cast<const char*>(dense.const_data_ptr()), dense.nbytes()}, crc);
  }
  return fmt::format("{:08x}", crc);
}

}  // namespace

void write_with_checksum(const std::filesystem::path& path, const NamedTensors& tensors,
                         Metadata metadata) {
  auto ordered = tensors;
  std::sort(ordered.begin(), ordered.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  metadata[kChecksum] = checksum_of(ordered, metadata);
  write_safetensors(path, ordered, metadata);
}

std::optional<std::string> told_checksum(const SafeTensors& file) {
  const auto told = file.metadata().find(kChecksum);
  return told == file.metadata().end() ? std::nullopt : std::optional(told->second);
}

void require_checksum(const SafeTensors& file) {
  const auto told = told_checksum(file);
  if (!told || file.found_whole()) return;
  const auto found = checksum_of(file.tensors(), file.metadata());
  require(found == *told, ErrorCategory::bad_file,
          fmt::format("{}: is damaged or was not copied whole: its content has the checksum {}, "
                      "and {} was written",
                      file.path().string(), found, *told));
  file.note_whole();
}

}  // namespace foresight::io
