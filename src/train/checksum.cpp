// SPDX-License-Identifier: Apache-2.0
#include "checksum.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "foresight/core/error.hpp"
#include "foresight/train/crc32c.hpp"

namespace foresight::train {
namespace {

constexpr const char* kChecksum = "crc32c";

using Metadata = std::map<std::string, std::string>;

// Of tensors in alphabetical order, one at a time: those on a device need no second copy here.
std::string checksum_of(const io::NamedTensors& tensors, const Metadata& metadata) {
  std::uint32_t crc = 0;
  for (const auto& [name, text] : metadata)
    if (name != kChecksum) crc = crc32c(fmt::format("{}\n{}\n", name, text), crc);
  for (const auto& [name, tensor] : tensors) {
    crc = crc32c(fmt::format("{}\n{} {}\n", name, c10::toString(tensor.scalar_type()),
                             shape_string(tensor.sizes())),
                 crc);
    const Tensor dense = tensor.detach().to(at::kCPU).contiguous();
    crc = crc32c({static_cast<const char*>(dense.const_data_ptr()), dense.nbytes()}, crc);
  }
  return fmt::format("{:08x}", crc);
}

}  // namespace

void write_with_checksum(const std::filesystem::path& path, const io::NamedTensors& tensors,
                         Metadata metadata) {
  auto ordered = tensors;
  std::sort(ordered.begin(), ordered.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  metadata[kChecksum] = checksum_of(ordered, metadata);
  io::write_safetensors(path, ordered, metadata);
}

void require_checksum(const io::SafeTensors& file) {
  const auto told = file.metadata().find(kChecksum);
  if (told == file.metadata().end()) return;
  const auto found = checksum_of(file.tensors(), file.metadata());
  require(found == told->second, ErrorCategory::bad_file,
          fmt::format("{}: is damaged or was not copied whole: its content has the checksum {}, "
                      "and {} was written",
                      file.path().string(), found, told->second));
}

}  // namespace foresight::train
