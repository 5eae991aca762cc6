// SPDX-License-Identifier: Apache-2.0
// The HDF5 files of the process that are open: some of however many its data sets have, each once,
// as HDF5 remembers what it read of a file for all who have it open. Under the library's lock.
// Included by hdf5_file.cpp alone, as it includes the library's header. Private to the data folder.
#pragma once

#include <sys/file.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../file_stamp.hpp"
#include "../video/recently_used.hpp"
#include "hdf5_values.hpp"

namespace foresight::data {

// Which file lies at a path, and in which state.
struct Hdf5State {
  std::string id;  // another file under the same name has another
  FileStamp stamp;
};

// Throws as file_stamp() does.
inline Hdf5State hdf5_state(const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return {{}, file_stamp(path)};
  return {std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino), file_stamp(status)};
}

inline bool has_stamp(const std::string& path, const FileStamp& stamp) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 && file_stamp(status) == stamp;
}

// Held while a file is opened. HDF5's writers lock what they have open, but in SWMR mode. It is not
// held longer, so that a recorder may go on with the file, which is noticed by its stamp, nor when
// a file that was closed for others is opened once more in the state that it had.
inline io::Descriptor lock_for_opening(const std::string& path, bool first) {
  io::Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) throw io::system_error(path, "open");
  const char* chosen = std::getenv("HDF5_USE_FILE_LOCKING");
  const std::string_view locking = chosen == nullptr ? "" : chosen;
  const bool off = locking == "FALSE" || locking == "0";
  if (first && !off && ::flock(file.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    throw Error(ErrorCategory::bad_file,
                path +
                    ": another program has it open for writing, and not in HDF5's SWMR mode, in "
                    "which others may read. Open it when that program is done");
  return file;  // file systems of networks often have no locks
}

struct OpenedHdf5 {
  Hdf5Handle file;
  bool in_swmr;  // a recorder in SWMR mode has it open, or did not close it
};

// Throws Error(bad_file) that says why, Error(io_failure) where the system refuses.
inline OpenedHdf5 open_hdf5_file(const std::string& path, std::int64_t bytes, bool first) {
  const auto locked = lock_for_opening(path, first);
  const Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
#if H5_VERSION_GE(1, 10, 7)
  H5Pset_file_locking(access.id(), false, true);  // ours is released after opening
#endif
  Hdf5Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.id()), H5Fclose);
  if (file) return {std::move(file), false};
  const std::string why = hdf5_reason();
  if (why.starts_with("file is already open for write")) {
    Hdf5Handle recorded(H5Fopen(path.c_str(), H5F_ACC_RDONLY | H5F_ACC_SWMR_READ, access.id()),
                        H5Fclose);
    if (recorded) return {std::move(recorded), true};
    throw Error(ErrorCategory::bad_file,
                path +
                    ": is marked as open for writing, and not in HDF5's SWMR mode, in which "
                    "others may read: the program that writes it is not done, or was killed. "
                    "When none writes it, `h5clear -s FILE` of HDF5's tools takes the mark away (" +
                    hdf5_reason() + ")");
  }
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  const std::string library =
      "HDF5 " + std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(release);
  // A file that was not written or copied to its end knows how long it should be.
  require(!why.starts_with("truncated file"), ErrorCategory::bad_file,
          path + ": is cut short, as by a copy that was not finished; it ends after " +
              std::to_string(bytes) + " bytes, and " + library + " reads nothing of it (" + why +
              "). Copy it again");
  require(why != "file signature not found", ErrorCategory::bad_file,
          path + ": is no HDF5 file, or its beginning is damaged: " + library +
              " finds no mark of one");
  const bool of_format = why.find("version") != std::string::npos;
  throw Error(ErrorCategory::bad_file,
              path + ": " + library + " cannot open it: " + why + (of_format ? kOfNewerHdf5 : ""));
}

inline Hdf5Handle open_hdf5_array(hid_t file, const std::string& name, hid_t access = H5P_DEFAULT) {
  return {H5Dopen2(file, name.c_str(), access), H5Dclose};
}

// Bytes of unpacked chunks that may be kept for an array: HDF5's usual ones, of a larger array, and
// of all together.
inline constexpr std::size_t kUsualRoom = std::size_t{1} << 20;
inline constexpr std::size_t kArrayRoom = std::size_t{64} << 20;
inline constexpr std::size_t kAllRoom = std::size_t{256} << 20;

struct ChunkRoom {
  std::size_t bytes, slots = H5D_CHUNK_CACHE_NSLOTS_DEFAULT;
};

// Room for an array that is read row by row. Chunks of several rows are unpacked whole for each:
// of the chunks that a row lies in (h5py's own cut pictures too) two layers are kept at least, as a
// window may lie across their border, or one where two are larger than all the room.
inline ChunkRoom chunk_room(hid_t array) {
  constexpr std::size_t kOfOnePiece = std::size_t{1} << 16;  // HDF5's buffer for it
  const Hdf5Handle properties(H5Dget_create_plist(array), H5Pclose);
  if (H5Pget_layout(properties.id()) != H5D_CHUNKED) return {kOfOnePiece};
  const auto shape = hdf5_shape(array);
  std::vector<hsize_t> chunk(shape.size(), 1);
  H5Pget_chunk(properties.id(), static_cast<int>(chunk.size()), chunk.data());
  if (chunk.empty() || chunk[0] <= 1) return {kUsualRoom};
  const Hdf5Handle type(H5Dget_type(array), H5Tclose);
  double one = static_cast<double>(H5Tget_size(type.id())), whole = one, chunks = 1;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    const double rows = static_cast<double>(shape[d]), of_chunk = static_cast<double>(chunk[d]);
    whole *= rows;
    if (d > 0) chunks *= std::ceil(rows / of_chunk);
    one *= of_chunk;
  }
  const double layer = one * chunks, all = static_cast<double>(kAllRoom);
  double wanted =
      std::min(std::max(whole, layer), std::max(static_cast<double>(kArrayRoom), 2 * layer));
  if (wanted > all) wanted = layer;
  if (wanted > all) return {kUsualRoom};
  const auto bytes = std::max(kUsualRoom, static_cast<std::size_t>(wanted));
  // Ten slots a chunk, and odd, so that chunks seldom push each other out (as HDF5 advises).
  const auto slots = static_cast<std::size_t>(10 * static_cast<double>(bytes) / one) | 1;
  return {bytes, std::clamp<std::size_t>(slots, 521, std::size_t{1} << 20 | 1)};
}

class Hdf5Pool {
 public:
  // Counts the room of all arrays.
  class Room {
   public:
    explicit Room(std::size_t bytes) : bytes_(bytes) { taken() += bytes_; }
    Room(Room&& other) noexcept : bytes_(std::exchange(other.bytes_, 0)) {}
    Room& operator=(Room&&) = delete;
    ~Room() { taken() -= bytes_; }
    static std::size_t& taken() {
      static std::size_t bytes = 0;
      return bytes;
    }

   private:
    std::size_t bytes_;
  };

  // An array that is read row by row, with what HDF5 would be asked for each time.
  struct Array {
    Room room;
    Hdf5Handle handle;
    Hdf5Handle stored, memory;  // dataspaces: of all rows, of those that are read at once
    std::vector<hsize_t> start, count;

    int64_t rows = static_cast<int64_t>(count[0]);

    // Rows from `first` on, which exist, as bytes. False where HDF5 cannot.
    bool read(int64_t first, std::size_t wanted, std::uint8_t* to) {
      start[0] = static_cast<hsize_t>(first);
      if (count[0] != wanted) {
        count[0] = wanted;
        H5Sset_extent_simple(memory.id(), static_cast<int>(count.size()), count.data(), nullptr);
      }
      H5Sselect_hyperslab(stored.id(), H5S_SELECT_SET, start.data(), nullptr, count.data(),
                          nullptr);
      return H5Dread(handle.id(), H5T_NATIVE_UINT8, memory.id(), stored.id(), H5P_DEFAULT, to) >= 0;
    }
  };

  struct File {
    Hdf5Handle handle;
    bool in_swmr;
    FileStamp stamp;  // when it was opened
    std::chrono::steady_clock::time_point opened = std::chrono::steady_clock::now();
    RecentlyUsed<Array> arrays{256};  // robomimic has one for every demonstration and camera
  };

  // Never destroyed: HDF5 closes itself before.
  static Hdf5Pool& one() {
    static auto& pool = *new Hdf5Pool;
    return pool;
  }

  void add_user(const std::string& id) { ++users_[id]; }

  // A file that nobody uses is closed.
  void remove_user(const std::string& id) {
    if (--users_[id] > 0) return;
    users_.erase(id);
    files_.drop(id);
  }

  // The file in that state, valid until the next call; of one that is being recorded in SWMR mode
  // whichever state others have opened since. What was read of it in another is forgotten. Throws
  // as open_hdf5_file().
  // `first`: not one that is used and was closed for others meanwhile.
  File& open(const std::string& path, const Hdf5State& state, bool first, bool recorded) {
    const auto opened = [&] {
      while (!files_.empty() && files_.size() >= most_files()) files_.drop_oldest();
      auto file = open_hdf5_file(path, state.stamp.bytes, first);
      return File{std::move(file.file), file.in_swmr, state.stamp};
    };
    File& known = files_.get(state.id, opened);
    if (recorded || known.stamp == state.stamp) return known;
    files_.drop(state.id);
    return files_.get(state.id, opened);
  }

  // The stamp of a file that was opened in SWMR mode, by whomever, less than `age` ago.
  std::optional<FileStamp> recorded_within(const std::string& id, std::chrono::seconds age) {
    const File* known = files_.find(id);
    if (known == nullptr || !known->in_swmr) return std::nullopt;
    if (std::chrono::steady_clock::now() - known->opened >= age) return std::nullopt;
    return known->stamp;
  }

  // An array of a file that is read row by row, valid as the file. `check(id)` throws where it
  // cannot be opened (-1), or is none that can be read so.
  template <class Check>
  Array& array(File& file, const std::string& name, Check&& check) {
    Array& found =
        file.arrays.get(name, [&] { return opened_array(file.handle.id(), name, check); });
    if (Room::taken() <= kAllRoom) return found;
    files_.visit_oldest_first([&](File& other) {
      const std::size_t needed = &other == &file ? 1 : 0;
      while (Room::taken() > kAllRoom && other.arrays.size() > needed) other.arrays.drop_oldest();
    });
    return found;
  }

 private:
  // A quarter of the descriptors that the process may have.
  static std::size_t most_files() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 16;
    return static_cast<std::size_t>(std::clamp<rlim_t>(limit.rlim_cur / 4, 4, 128));
  }

  template <class Check>
  static Array opened_array(hid_t file, const std::string& name, Check&& check) {
    ChunkRoom room{0};  // while it is open, HDF5 keeps to the room of its first opening
    if (const Hdf5Handle array = open_hdf5_array(file, name)) room = chunk_room(array.id());
    const Hdf5Handle access(H5Pcreate(H5P_DATASET_ACCESS), H5Pclose);
    if (room.bytes > kUsualRoom) H5Pset_chunk_cache(access.id(), room.slots, room.bytes, 0);
    Hdf5Handle array = open_hdf5_array(file, name, access.id());
    check(array.id());
    const auto shape = hdf5_shape(array.id());
    std::vector<hsize_t> count(shape.begin(), shape.end());
    Hdf5Handle stored(H5Dget_space(array.id()), H5Sclose),
        memory(H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr), H5Sclose);
    std::vector<hsize_t> start(count.size(), 0);
    return {Room(room.bytes),  std::move(array), std::move(stored),
            std::move(memory), std::move(start), std::move(count)};
  }

  std::map<std::string, int> users_;
  RecentlyUsed<File> files_{128};
};

}  // namespace foresight::data
