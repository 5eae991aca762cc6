// SPDX-License-Identifier: Apache-2.0
// A whole file in memory, without a copy: tensors are views of it. Private to the library.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "descriptor.hpp"

namespace foresight::io {

/// What happens to a write into mapped bytes. The file changes in neither case.
enum class MappedPages {
  copied_when_written,  ///< it is this process's alone: ATen may write into a tensor
  read_only,            ///< it stops the process
};

/// A mapping of a whole file that is not empty.
class Mapping {
 public:
  Mapping(int descriptor, std::uint64_t size, const std::filesystem::path& path,
          MappedPages pages = MappedPages::copied_when_written)
      : size_(size) {
    // Without NORESERVE the system would set memory aside for pages that nobody writes.
    void* address = pages == MappedPages::read_only
                        ? ::mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, 0)
                        : ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE,
                                 descriptor, 0);
    if (address == MAP_FAILED) throw system_error(path, "map it into memory");
    bytes_ = static_cast<char*>(address);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { ::munmap(bytes_, size_); }

  char* bytes() const noexcept { return bytes_; }
  std::string_view view() const noexcept { return {bytes_, size_}; }

 private:
  char* bytes_ = nullptr;
  std::uint64_t size_ = 0;
};

}  // namespace foresight::io
