// SPDX-License-Identifier: Apache-2.0
// Text files in and out. Everything that the library writes goes through replace_file_atomically():
// beside the target, synced, renamed, so that a reader (or a power cut) meets the old file or the
// new one, never half of one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "foresight/core/export.hpp"

namespace foresight::io {

/// The file being written by replace_file_atomically(). Unbuffered: hand it large pieces.
class FORESIGHT_API OutputFile {
 public:
  OutputFile(int descriptor, std::filesystem::path temporary, std::filesystem::path target)
      : descriptor_(descriptor), temporary_(std::move(temporary)), target_(std::move(target)) {}
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// Appends `size` bytes. Throws Error(io_failure) naming the target when the system refuses, e.g.
  /// disk full.
  void write(const void* bytes, std::size_t size);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// Writes `size` bytes at `offset`, also behind the end; write() does not go on from there.
  /// Pieces that do not overlap may be written by several threads. Throws as write().
  void write_at(std::int64_t offset, const void* bytes, std::size_t size);

  /// Where the bytes are until the rename, for libraries that only write to a named file. It exists
  /// already and must be written in place, not replaced.
  const std::filesystem::path& temporary() const noexcept { return temporary_; }

 private:
  [[noreturn]] void refuse(std::size_t left) const;

  int descriptor_;
  std::filesystem::path temporary_;
  std::filesystem::path target_;
};

/// Creates or replaces `target` by what `write` produces. On success the bytes are on the disk
/// under the final name; on any exception the temporary file is removed and the previous `target`
/// is untouched. The parent folder must exist; a symbolic link is followed; permissions of an
/// existing file are kept. Temporary files that a killed process left beside the same target are
/// removed. Throws Error(io_failure), or what `write` throws.
FORESIGHT_API void replace_file_atomically(const std::filesystem::path& target,
                                           const std::function<void(OutputFile&)>& write);

/// replace_file_atomically() with `text` as the content.
FORESIGHT_API void write_text(const std::filesystem::path& target, std::string_view text);

/// Default size limit of read_text() and read_json(): far above any configuration, far below a
/// memory problem.
inline constexpr std::uint64_t kTextLimit = std::uint64_t{64} << 20;

/// The whole of a regular file. Throws Error: not_found if it does not exist, bad_file if it is not
/// a regular file or larger than `limit` bytes, io_failure if the system refuses.
FORESIGHT_API std::string read_text(const std::filesystem::path& path,
                                    std::uint64_t limit = kTextLimit);

}  // namespace foresight::io
