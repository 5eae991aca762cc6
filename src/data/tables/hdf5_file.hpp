// SPDX-License-Identifier: Apache-2.0
// HDF5 files as far as recordings use them, in terms of tensors and texts. The library is not safe
// to call from several threads, so every call here takes one lock for all files. Only hdf5_file.cpp
// knows its headers; where the build has no HDF5, opening throws an Error that says how to get it.
// Private to the data folder.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../file_stamp.hpp"
#include "foresight/core/tensor.hpp"

namespace foresight::data {

/// An array in a file, looked at without reading it.
struct Hdf5Array {
  std::vector<int64_t> shape;
  std::optional<at::ScalarType> type;  ///< of the numbers; none for texts and others
  bool text = false;                   ///< one text a row
  std::string problem;                 ///< why it cannot be read; empty: nothing is known against
  bool cut = false;                    ///< the problem is that the file ends before its bytes do
};

/// A file, of which the system has one descriptor open, or none until it is read again: of all
/// files of the process few are open at once. Thread-safe. Reading after it was changed throws
/// Error(bad_file), as HDF5 would mix what it remembers with what it finds, unless the change is
/// accepted as growth.
class Hdf5File {
 public:
  /// Throws Error(not_found | bad_file), the latter for a file that is cut short or open for
  /// writing, too, Error(io_failure), and Error(unsupported) without HDF5. What a recorder writes
  /// in HDF5's SWMR mode opens, also after it was killed.
  explicit Hdf5File(const std::filesystem::path& path);
  ~Hdf5File();

  const std::string& path() const { return path_; }
  /// Whether a recorder has it open in SWMR mode, or was killed before it closed it.
  bool is_recorded_now() const;
  /// From now on the file may grow between two reads: it is read on if it is the same file, longer
  /// or still being recorded, and `holds(now)` finds in it what is known of it. `holds` must not
  /// keep this file. Half of a change, as writers leave it for a moment, is tried again for two
  /// seconds, once.
  void accept_growth(std::function<bool(const Hdf5File& now)> holds) const;
  /// Names of what a group holds, sorted; "/" is the outermost. Empty if there is no such group.
  std::vector<std::string> names(const std::string& group) const;
  bool has(const std::string& name) const;
  bool is_group(const std::string& name) const;
  /// An array by its path, e.g. "data/demo_0/actions". Does not throw for one that this HDF5 cannot
  /// open: see Hdf5Array::problem.
  Hdf5Array array(const std::string& name) const;

  /// The whole array, of the type that array() tells. Unsigned integers wider than 8 bits become
  /// int64, h5py's booleans (an enumeration of FALSE = 0 and TRUE = 1) bool, with every number but
  /// 0 true as in h5py, other enumerations of one byte their numbers. Throws Error(bad_file) naming
  /// file, array and reason, Error(unsupported) naming the filter that is missing.
  Tensor read(const std::string& name) const;
  /// Rows of an array of uint8 in the order asked for.
  Tensor read_rows(const std::string& name, at::IntArrayRef rows) const;
  std::vector<std::string> read_texts(const std::string& name) const;
  /// A text or number attribute of a group or array, as text; nothing where there is none.
  std::optional<std::string> attribute(const std::string& object, const std::string& name) const;

 private:
  struct Impl;
  /// In SWMR mode as others opened it less than `shared` ago.
  Hdf5File(const std::filesystem::path& path, std::chrono::seconds shared);
  void follow() const;  // throws where the file has changed, unless it has grown
  bool has_grown() const;
  std::string path_;
  std::unique_ptr<Impl> impl_;
};

/// Whether this build reads HDF5.
bool has_hdf5();

}  // namespace foresight::data
