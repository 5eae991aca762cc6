// SPDX-License-Identifier: Apache-2.0
#include "frame_file.hpp"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "../io/mapping.hpp"
#include "foresight/io/files.hpp"
#include "parallel.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "frame files are little-endian");

constexpr int64_t kFrameFileMagic = 0x53454D4152465346;  // "FSFRAMES"
constexpr int64_t kFrameFileVersion = 1;

struct IndexEntry {
  int64_t episode = 0, frames = 0, offset = 0;
};

struct Trailer {
  int64_t magic = kFrameFileMagic, version = kFrameFileVersion, fingerprint = 0, height = 0,
          width = 0, episodes = 0, index = 0, hash = 0;
};

int64_t hash_of(const std::vector<IndexEntry>& index, Trailer trailer) {
  trailer.hash = 0;
  Fnv1a hash;
  hash.add(index.data(), index.size() * sizeof(IndexEntry));
  hash.add(&trailer, sizeof trailer);
  return static_cast<int64_t>(hash.value());
}

// Null if there is no such file, or nothing in it.
std::shared_ptr<const io::Mapping> mapped_if_there(const fs::path& path) {
  try {
    struct stat status {};
    const auto file = io::open_regular(AT_FDCWD, path, path, status);
    if (status.st_size == 0) return nullptr;
    return std::make_shared<const io::Mapping>(file.get(), status.st_size, path,
                                               io::MappedPages::read_only);
  } catch (const Error& error) {
    if (error.category() == ErrorCategory::not_found) return nullptr;
    throw;
  }
}

// The index of a file whose trailer and sizes agree; else what is wrong.
std::string read_index(std::string_view file, const FrameFile::Content& content,
                       std::vector<IndexEntry>& index) {
  constexpr int64_t kTrailer = sizeof(Trailer), kEntry = sizeof(IndexEntry);
  const auto bytes = static_cast<int64_t>(file.size());
  Trailer trailer;
  if (bytes < kTrailer) return "is too short";
  std::memcpy(&trailer, file.data() + bytes - kTrailer, sizeof trailer);
  if (trailer.magic != kFrameFileMagic) return "is cut or no file of frames";
  if (trailer.version != kFrameFileVersion) return "has another version";
  const int64_t most = (bytes - kTrailer) / kEntry;
  if (trailer.episodes < 0 || trailer.episodes > most ||
      trailer.index != bytes - kTrailer - trailer.episodes * kEntry)
    return "is cut or damaged";
  index.resize(static_cast<std::size_t>(trailer.episodes));
  if (!index.empty())
    std::memcpy(index.data(), file.data() + trailer.index, index.size() * sizeof(IndexEntry));
  if (trailer.hash != hash_of(index, trailer)) return "is damaged";
  if (trailer.fingerprint != content.fingerprint) return "is of another state of the data set";
  if (ImageSize{trailer.height, trailer.width} != content.size) return "has frames of another size";
  const int64_t frame_bytes = content.size.height * content.size.width * 3;
  int64_t end = 0;  // episodes follow each other
  for (const auto& entry : index) {
    const auto expected = content.episodes.find(entry.episode);
    if (expected == content.episodes.end() || entry.frames != expected->second)
      return "holds other episodes";
    if (entry.offset != end || entry.frames > (trailer.index - end) / frame_bytes)
      return "is damaged";
    end += entry.frames * frame_bytes;
  }
  return end == trailer.index ? "" : "is damaged";
}

// Names, sizes and times of change of the files of a data set, which may be one file.
void add_files(const fs::path& path, Fnv1a& hash) {
  std::error_code code;
  std::vector<fs::path> files;
  if (fs::is_regular_file(path, code)) files.push_back(path);
  if (fs::is_directory(path, code))
    for (const auto& entry : fs::recursive_directory_iterator(path))
      if (entry.is_regular_file()) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  for (const auto& file : files) {
    struct stat status {};
    if (::stat(file.c_str(), &status) != 0) continue;
    add_name(hash, file.lexically_relative(path).string());
    hash.add(status.st_size);
    hash.add(status.st_mtim.tv_sec);
    hash.add(status.st_mtim.tv_nsec);
  }
}

}  // namespace

void add_name(Fnv1a& hash, const std::string& text) {
  hash.add(static_cast<int64_t>(text.size()));
  hash.add(text);
}

int64_t fingerprint(const Dataset& dataset) {
  constexpr int64_t kProbes = 8;  // episodes whose first and last frames are looked at
  Fnv1a hash;
  add_files(dataset.name(), hash);
  add_name(hash, dataset.camera());
  dataset.identify_frames(hash);
  const int64_t episodes = dataset.num_episodes();
  hash.add(episodes);
  for (int64_t e = 0; e < episodes; ++e) hash.add(dataset.length(e));
  for (int64_t probe = 0; probe < std::min(kProbes, episodes); ++probe) {
    const int64_t episode = probe * episodes / std::min(kProbes, episodes);
    try {
      const Tensor frames =
          dataset.read_frames(episode, {0, dataset.length(episode) - 1}).contiguous();
      hash.add(frames.const_data_ptr<std::uint8_t>(), static_cast<std::size_t>(frames.numel()));
    } catch (const Error&) {  // one that cannot be read is for others to judge
      hash.add(int64_t{-1});
    }
  }
  return static_cast<int64_t>(hash.value());
}

std::shared_ptr<const FrameFile> FrameFile::open(const fs::path& path, const Content& content,
                                                 std::string& problem) {
  const auto file = mapped_if_there(path);
  if (file == nullptr) {
    problem = "does not exist or is empty";
    return nullptr;
  }
  std::vector<IndexEntry> index;
  problem = read_index(file->view(), content, index);
  if (!problem.empty()) return nullptr;
  auto opened = std::make_shared<FrameFile>();
  for (const auto& entry : index) {
    // Read-only pages: a write through such a tensor stops the process, it never changes the file.
    opened->episodes_.emplace(entry.episode,
                              at::from_blob(
                                  file->bytes() + entry.offset,
                                  {entry.frames, content.size.height, content.size.width, 3},
                                  [file](void*) {}, at::TensorOptions(at::kByte)));
  }
  return opened;
}

void FrameFile::announce(const Tensor& frames, at::IntArrayRef rows) {
  static const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(frames.const_data_ptr<std::uint8_t>());
  const auto bytes = static_cast<std::uintptr_t>(frames.stride(0));
  for (std::size_t i = 0; i < rows.size();) {
    if (rows[i] < 0 || rows[i] >= frames.size(0)) return;
    std::size_t past = i + 1;  // consecutive rows are one piece
    while (past < rows.size() && rows[past] == rows[past - 1] + 1 && rows[past] < frames.size(0))
      ++past;
    const std::uintptr_t from = begin + static_cast<std::uintptr_t>(rows[i]) * bytes;
    const std::uintptr_t first = from / page * page;  // pages begin before the frame
    ::madvise(reinterpret_cast<void*>(first), from + (past - i) * bytes - first, MADV_WILLNEED);
    i = past;
  }
}

void FrameFile::write(const fs::path& path, const Content& content, int64_t threads,
                      const std::function<Tensor(int64_t)>& decode) {
  if (threads <= 0) threads = std::max(1u, std::thread::hardware_concurrency());
  const std::vector<std::pair<int64_t, int64_t>> episodes(content.episodes.begin(),
                                                          content.episodes.end());
  const auto count = static_cast<int64_t>(episodes.size());
  io::replace_file_atomically(path, [&](io::OutputFile& file) {
    std::vector<IndexEntry> index;
    int64_t offset = 0;
    for (int64_t first = 0; first < count; first += threads) {
      std::vector<Tensor> decoded(static_cast<std::size_t>(std::min(threads, count - first)));
      parallel_for(static_cast<int64_t>(decoded.size()), threads, [&](int64_t i) {
        decoded[static_cast<std::size_t>(i)] =
            decode(episodes[static_cast<std::size_t>(first + i)].first);
      });
      for (std::size_t i = 0; i < decoded.size(); ++i) {
        const Tensor& frames = decoded[i];
        if (!frames.defined()) continue;
        const auto [episode, length] = episodes[static_cast<std::size_t>(first) + i];
        check_shape("frames of an episode", frames,
                    {length, content.size.height, content.size.width, 3}, "[T,H,W,3]");
        const Tensor packed = frames.contiguous();
        file.write(packed.const_data_ptr<std::uint8_t>(), static_cast<std::size_t>(packed.numel()));
        index.push_back({episode, length, offset});
        offset += packed.numel();
      }
    }
    Trailer trailer;
    trailer.fingerprint = content.fingerprint;
    trailer.height = content.size.height;
    trailer.width = content.size.width;
    trailer.episodes = static_cast<int64_t>(index.size());
    trailer.index = offset;
    trailer.hash = hash_of(index, trailer);
    file.write(index.data(), index.size() * sizeof(IndexEntry));
    file.write(&trailer, sizeof trailer);
  });
}

}  // namespace foresight::data
