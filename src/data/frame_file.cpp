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
  int64_t end = 0;  // episodes follow each other; what lies between them was left out
  for (const auto& entry : index) {
    const auto expected = content.episodes.find(entry.episode);
    if (expected == content.episodes.end() || entry.frames != expected->second)
      return "holds other episodes";
    if (entry.offset < end || entry.offset > trailer.index ||
        entry.frames > (trailer.index - entry.offset) / frame_bytes)
      return "is damaged";
    end = entry.offset + entry.frames * frame_bytes;
  }
  return "";
}

void add_file(const fs::path& file, Fnv1a& hash) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) return;
  hash.add(status.st_size);
  hash.add(status.st_mtim.tv_sec);
  hash.add(status.st_mtim.tv_nsec);
}

// Names, sizes and times of change of all files below a folder that may be read.
void add_files_below(const fs::path& folder, Fnv1a& hash) {
  constexpr auto kPassed = fs::directory_options::skip_permission_denied;
  std::error_code problem;
  std::vector<fs::path> files;
  for (fs::recursive_directory_iterator entry(folder, kPassed, problem), end;
       !problem && entry != end; entry.increment(problem)) {
    std::error_code no_file;
    if (entry->is_regular_file(no_file)) files.push_back(entry->path());
  }
  std::sort(files.begin(), files.end());
  for (const auto& file : files) {
    add_name(hash, file.lexically_relative(folder).string());
    add_file(file, hash);
  }
}

// What the frames are read from, as the data set says. Not whatever lies beside it: runs, and files
// like this one, may be kept there.
void add_frames(const Dataset& dataset, Fnv1a& hash) {
  std::error_code code;
  const bool is_file = fs::is_regular_file(dataset.name(), code);
  if (is_file) add_file(dataset.name(), hash);
  Fnv1a told;
  dataset.identify_frames(told);
  hash.add(static_cast<int64_t>(told.value()));
  if (!is_file && told.value() == Fnv1a().value()) add_files_below(dataset.name(), hash);
}

}  // namespace

void add_name(Fnv1a& hash, const std::string& text) {
  hash.add(static_cast<int64_t>(text.size()));
  hash.add(text);
}

int64_t fingerprint(const Dataset& dataset) {
  constexpr int64_t kProbes = 8;  // episodes whose first and last frames are looked at
  Fnv1a hash;
  add_frames(dataset, hash);
  add_name(hash, dataset.camera());
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
                      const Decode& decode) {
  const int64_t frame_bytes = content.size.height * content.size.width * 3;
  std::vector<IndexEntry> places;
  int64_t end = 0;
  for (const auto& [episode, frames] : content.episodes) {
    places.push_back({episode, frames, end});
    end += frames * frame_bytes;
  }
  io::replace_file_atomically(path, [&](io::OutputFile& file) {
    std::vector<char> whole(places.size());
    parallel_for(std::ssize(places), threads, [&](int64_t i) {
      const auto& place = places[static_cast<std::size_t>(i)];
      int64_t written = 0;
      whole[static_cast<std::size_t>(i)] =
          decode(place.episode, [&](int64_t first, const Tensor& frames) {
            check_shape("frames of an episode", frames,
                        {frames.size(0), content.size.height, content.size.width, 3}, "[T,H,W,3]");
            require(first >= 0 && first + frames.size(0) <= place.frames,
                    ErrorCategory::invalid_argument, "frames of an episode: more than it has");
            const Tensor packed = frames.contiguous();
            file.write_at(place.offset + first * frame_bytes, packed.const_data_ptr<std::uint8_t>(),
                          static_cast<std::size_t>(packed.numel()));
            written += frames.size(0);
          });
      require(whole[static_cast<std::size_t>(i)] == 0 || written == place.frames,
              ErrorCategory::invalid_argument,
              path.string() + ": episode " + std::to_string(place.episode) + " has " +
                  std::to_string(place.frames) + " frames, " + std::to_string(written) +
                  " were decoded");
    });
    std::vector<IndexEntry> index;
    for (std::size_t i = 0; i < places.size(); ++i)
      if (whole[i] != 0) index.push_back(places[i]);
    Trailer trailer;
    trailer.fingerprint = content.fingerprint;
    trailer.height = content.size.height;
    trailer.width = content.size.width;
    trailer.episodes = static_cast<int64_t>(index.size());
    trailer.index = end;
    trailer.hash = hash_of(index, trailer);
    const auto index_bytes = static_cast<int64_t>(index.size() * sizeof(IndexEntry));
    file.write_at(end, index.data(), static_cast<std::size_t>(index_bytes));
    file.write_at(end + index_bytes, &trailer, sizeof trailer);
  });
}

}  // namespace foresight::data
