// SPDX-License-Identifier: Apache-2.0
#include "hdf5_file.hpp"

#include "foresight/core/error.hpp"

#if FORESIGHT_HAS_HDF5

#include <algorithm>

#include "../video/recently_used.hpp"
#include "hdf5_handle.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;

constexpr H5Z_filter_t kBlosc = 32001;  // registered with the HDF Group

using Handle = Hdf5Handle;

Handle open_array(hid_t file, const std::string& name) {
  return {H5Dopen2(file, name.c_str(), H5P_DEFAULT), H5Dclose};
}

std::vector<int64_t> shape_of(hid_t array) {
  const Handle space(H5Dget_space(array), H5Sclose);
  const int rank = H5Sget_simple_extent_ndims(space.id());
  std::vector<hsize_t> sizes(static_cast<std::size_t>(std::max(rank, 0)));
  if (rank > 0) H5Sget_simple_extent_dims(space.id(), sizes.data(), nullptr);
  return {sizes.begin(), sizes.end()};
}

struct MemoryType {
  at::ScalarType type;
  hid_t hdf5;
};

// The tensor type for a stored one, and how HDF5 converts to it.
std::optional<MemoryType> memory_type(hid_t stored) {
  const std::size_t bytes = H5Tget_size(stored);
  switch (H5Tget_class(stored)) {
    case H5T_FLOAT:
      if (bytes <= 4) return MemoryType{at::kFloat, H5T_NATIVE_FLOAT};
      return MemoryType{at::kDouble, H5T_NATIVE_DOUBLE};
    case H5T_INTEGER: {
      const bool is_signed = H5Tget_sign(stored) == H5T_SGN_2;
      if (bytes == 1 && !is_signed) return MemoryType{at::kByte, H5T_NATIVE_UINT8};
      if (bytes == 1) return MemoryType{at::kChar, H5T_NATIVE_INT8};
      if (bytes == 2 && is_signed) return MemoryType{at::kShort, H5T_NATIVE_INT16};
      if (bytes == 4 && is_signed) return MemoryType{at::kInt, H5T_NATIVE_INT32};
      return MemoryType{at::kLong, H5T_NATIVE_INT64};
    }
    default:
      return std::nullopt;
  }
}

// h5py stores booleans as an enumeration of one byte: read as the integers below it.
bool is_byte_enumeration(hid_t stored) {
  return H5Tget_class(stored) == H5T_ENUM && H5Tget_size(stored) == 1;
}

// What is wrong with an array whose bytes lie in one piece, if the file ends before they do. Where
// chunks lie is not known without walking through all of them.
std::string beyond_end(hid_t array, int64_t file_bytes) {
  const haddr_t place = H5Dget_offset(array);
  if (place == HADDR_UNDEF) return {};
  const hsize_t bytes = H5Dget_storage_size(array);
  const auto end = static_cast<hsize_t>(file_bytes);
  if (place <= end && bytes <= end - place) return {};
  return "its " + std::to_string(bytes) + " bytes begin at byte " + std::to_string(place) +
         ", and the file ends after " + std::to_string(end);
}

// The path of the file that an object lies in: behind an external link it is another one.
std::string file_of(hid_t object) {
  std::string path(static_cast<std::size_t>(std::max<ssize_t>(H5Fget_name(object, nullptr, 0), 0)),
                   '\0');
  if (!path.empty()) H5Fget_name(object, path.data(), path.size() + 1);
  return path;
}

// A file that was not written or copied to its end knows how long it should be.
bool says_cut(const std::string& reason) { return reason.starts_with("truncated file"); }

std::vector<std::string> strings_of(hid_t array, hid_t stored, int64_t count) {
  const auto rows = static_cast<std::size_t>(count);
  std::vector<std::string> texts(rows);
  const Handle memory(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_cset(memory.id(), H5Tget_cset(stored));
  if (H5Tis_variable_str(stored) > 0) {
    H5Tset_size(memory.id(), H5T_VARIABLE);
    std::vector<char*> pointers(rows, nullptr);
    if (H5Dread(array, memory.id(), H5S_ALL, H5S_ALL, H5P_DEFAULT, pointers.data()) < 0) return {};
    for (std::size_t i = 0; i < rows; ++i)
      if (pointers[i] != nullptr) texts[i] = pointers[i];
    const Handle space(H5Dget_space(array), H5Sclose);
    H5Dvlen_reclaim(memory.id(), space.id(), H5P_DEFAULT, pointers.data());
    return texts;
  }
  const std::size_t size = H5Tget_size(stored);
  H5Tset_size(memory.id(), size);
  H5Tset_strpad(memory.id(), H5T_STR_NULLPAD);
  std::vector<char> bytes(rows * size);
  if (H5Dread(array, memory.id(), H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()) < 0) return {};
  for (std::size_t i = 0; i < rows; ++i) {
    texts[i].assign(bytes.data() + i * size, size);
    texts[i].erase(std::min(texts[i].find('\0'), texts[i].size()));
  }
  return texts;
}

}  // namespace

struct Hdf5File::Impl {
  explicit Impl(hid_t id) : file(id, H5Fclose) {}
  Handle file;
  // Arrays that are read row by row. Each keeps up to a megabyte of unpacked chunks, and robomimic
  // has one for every demonstration and camera.
  RecentlyUsed<Handle> open{256};

  [[noreturn]] void fail(const Hdf5File& owner, const std::string& name, hid_t array) const {
    const std::string why = hdf5_reason();
    if (array >= 0) check_filters(owner, name, array);
    throw Error(ErrorCategory::bad_file, owner.path() + ": array '" + name + "' cannot be read: " +
                                             why + (array < 0 ? kOfNewerHdf5 : ""));
  }

  // A header may claim any size, and memory is asked for before anything is read. Compression makes
  // data some thousand times smaller at most, but unwritten parts of an array take no room at all.
  static void check_size(const Hdf5File& owner, const std::string& name, hid_t array,
                         const std::vector<int64_t>& shape, std::size_t item_bytes) {
    constexpr double kAlways = 64e6, kMostTimes = 1e4;
    double bytes = static_cast<double>(item_bytes);
    bool sound = true;
    for (const int64_t size : shape) {
      sound = sound && size >= 0;
      bytes *= static_cast<double>(size);
    }
    auto stored = static_cast<std::uintmax_t>(owner.stamp_.bytes);
    if (const auto file = file_of(array); file != owner.path()) {
      std::error_code failed;
      const auto linked = fs::file_size(file, failed);
      if (!failed) stored = linked;
    }
    require(sound && bytes <= kAlways + kMostTimes * static_cast<double>(stored),
            ErrorCategory::bad_file,
            owner.path() + ": array '" + name + "' has shape " + shape_string(shape) +
                ", far more than " + std::to_string(stored) + " bytes in the file can hold");
  }

  // A missing filter is the usual reason, and HDF5's own message does not say what to install.
  static void check_filters(const Hdf5File& owner, const std::string& name, hid_t array) {
    const Handle properties(H5Dget_create_plist(array), H5Pclose);
    for (int i = 0; i < H5Pget_nfilters(properties.id()); ++i) {
      unsigned flags = 0, config = 0;
      std::size_t values = 0;
      char title[64] = {};
      const auto filter = H5Pget_filter2(properties.id(), static_cast<unsigned>(i), &flags, &values,
                                         nullptr, sizeof title - 1, title, &config);
      if (H5Zfilter_avail(filter) > 0) continue;
      const std::string advice =
          filter == kBlosc
              ? "install Debian's hdf5-filter-plugin-blosc-serial, or name a folder with the Blosc "
                "plugin in HDF5_PLUGIN_PATH (pip's hdf5plugin brings one)"
              : "name a folder with its plugin in HDF5_PLUGIN_PATH";
      throw Error(ErrorCategory::unsupported, owner.path() + ": array '" + name +
                                                  "' is compressed by filter " +
                                                  std::to_string(filter) + " (" + title +
                                                  "), which this HDF5 does not have; " + advice);
    }
  }
};

Hdf5File::Hdf5File(const fs::path& path) : path_(path.string()) {
  require(fs::is_regular_file(path), ErrorCategory::not_found, path_ + ": no such file");
  stamp_ = file_stamp(path);
  const Hdf5Lock lock;
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
#if H5_VERSION_GE(1, 10, 7)
  H5Pset_file_locking(access.id(), true, true);  // network file systems often have no locks
#endif
  impl_ = std::make_unique<Impl>(H5Fopen(path_.c_str(), H5F_ACC_RDONLY, access.id()));
  if (impl_->file) return;
  const std::string why = hdf5_reason();
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  const std::string library =
      "HDF5 " + std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(release);
  require(!says_cut(why), ErrorCategory::bad_file,
          path_ + ": is cut short, as by a copy that was not finished; it ends after " +
              std::to_string(stamp_.bytes) + " bytes, and " + library + " reads nothing of it (" +
              why + "). Copy it again");
  require(why != "file signature not found", ErrorCategory::bad_file,
          path_ + ": is no HDF5 file, or its beginning is damaged: " + library +
              " finds no mark of one");
  throw Error(ErrorCategory::bad_file,
              path_ + ": " + library + " cannot open it: " + why + kOfNewerHdf5);
}

Hdf5File::~Hdf5File() {
  if (!impl_) return;
  const Hdf5Lock lock;
  impl_.reset();
}

std::vector<std::string> Hdf5File::names(const std::string& group) const {
  std::vector<std::string> all;
  if (!is_group(group)) return all;
  const Hdf5Lock lock;
  const Handle open(H5Gopen2(impl_->file.id(), group.c_str(), H5P_DEFAULT), H5Gclose);
  const auto take = [](hid_t, const char* name, const H5L_info_t*, void* out) -> herr_t {
    static_cast<std::vector<std::string>*>(out)->emplace_back(name);
    return 0;
  };
  hsize_t place = 0;
  H5Literate(open.id(), H5_INDEX_NAME, H5_ITER_NATIVE, &place, take, &all);
  std::sort(all.begin(), all.end());
  return all;
}

bool Hdf5File::has(const std::string& name) const {
  const Hdf5Lock lock;
  // Every part of the path must exist before its whole may be asked for.
  for (std::size_t slash = name.find('/', 1); slash != std::string::npos;
       slash = name.find('/', slash + 1))
    if (H5Lexists(impl_->file.id(), name.substr(0, slash).c_str(), H5P_DEFAULT) <= 0) return false;
  return H5Lexists(impl_->file.id(), name.c_str(), H5P_DEFAULT) > 0;
}

bool Hdf5File::is_group(const std::string& name) const {
  if (name != "/" && !has(name)) return false;
  const Hdf5Lock lock;
  const Handle open(H5Gopen2(impl_->file.id(), name.c_str(), H5P_DEFAULT), H5Gclose);
  return static_cast<bool>(open);
}

Hdf5Array Hdf5File::array(const std::string& name) const {
  const Hdf5Lock lock;
  Hdf5Array found;
  const Handle open = open_array(impl_->file.id(), name);
  if (!open) {
    found.problem = hdf5_reason() + kOfNewerHdf5;
    return found;
  }
  const Handle stored(H5Dget_type(open.id()), H5Tclose);
  if (!stored) {
    found.problem = hdf5_reason() + kOfNewerHdf5;
    return found;
  }
  found.shape = shape_of(open.id());
  if (is_byte_enumeration(stored.id())) found.type = at::kByte;
  if (const auto memory = memory_type(stored.id())) found.type = memory->type;
  found.text = H5Tget_class(stored.id()) == H5T_STRING && found.shape.size() == 1;
  if (file_of(open.id()) == path_) found.problem = beyond_end(open.id(), stamp_.bytes);
  found.cut = !found.problem.empty();
  return found;
}

Tensor Hdf5File::read(const std::string& name) const {
  require_unchanged(path_, stamp_);
  const Hdf5Lock lock;
  const Handle open = open_array(impl_->file.id(), name);
  if (!open) impl_->fail(*this, name, -1);
  const Handle stored(H5Dget_type(open.id()), H5Tclose);
  const Handle base(
      is_byte_enumeration(stored.id()) ? H5Tget_super(stored.id()) : H5Tcopy(stored.id()),
      H5Tclose);
  const auto memory = memory_type(base.id());
  require(memory.has_value(), ErrorCategory::bad_file,
          path_ + ": array '" + name + "' holds no numbers");
  const auto shape = shape_of(open.id());
  Impl::check_size(*this, name, open.id(), shape, c10::elementSize(memory->type));
  Tensor values = at::empty(shape, memory->type);
  // An enumeration does not convert to a number: it is read as it is, one byte each.
  const hid_t type = is_byte_enumeration(stored.id()) ? stored.id() : memory->hdf5;
  if (H5Dread(open.id(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.mutable_data_ptr()) < 0)
    impl_->fail(*this, name, open.id());
  return values;
}

Tensor Hdf5File::read_rows(const std::string& name, at::IntArrayRef rows) const {
  require_unchanged(path_, stamp_);
  const Hdf5Lock lock;
  const hid_t array = impl_->open
                          .get(name,
                               [&] {
                                 Handle opened = open_array(impl_->file.id(), name);
                                 if (!opened) impl_->fail(*this, name, -1);
                                 return opened;
                               })
                          .id();
  std::vector<int64_t> shape = shape_of(array);
  require(!shape.empty(), ErrorCategory::bad_file, path_ + ": array '" + name + "' has no rows");
  const int64_t available = shape[0];
  Impl::check_size(*this, name, array, shape, 1);
  shape[0] = static_cast<int64_t>(rows.size());
  Tensor values = at::empty(shape, at::kByte);
  const int64_t bytes = rows.empty() ? 0 : values.numel() / shape[0];
  std::vector<hsize_t> start(shape.size(), 0), count(shape.begin(), shape.end());
  count[0] = 1;
  const Handle space(H5Dget_space(array), H5Sclose);
  const Handle one(H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr),
                   H5Sclose);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] < 0 || rows[i] >= available)
      throw Error(ErrorCategory::bad_file, path_ + ": array '" + name + "' has " +
                                               std::to_string(available) + " rows, row " +
                                               std::to_string(rows[i]) + " is missing");
    start[0] = static_cast<hsize_t>(rows[i]);
    H5Sselect_hyperslab(space.id(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr);
    auto* to = values.mutable_data_ptr<std::uint8_t>() + static_cast<int64_t>(i) * bytes;
    if (H5Dread(array, H5T_NATIVE_UINT8, one.id(), space.id(), H5P_DEFAULT, to) < 0)
      impl_->fail(*this, name, array);
  }
  return values;
}

std::vector<std::string> Hdf5File::read_texts(const std::string& name) const {
  require_unchanged(path_, stamp_);
  const Hdf5Lock lock;
  const Handle open = open_array(impl_->file.id(), name);
  if (!open) impl_->fail(*this, name, -1);
  const Handle stored(H5Dget_type(open.id()), H5Tclose);
  const auto shape = shape_of(open.id());
  require(H5Tget_class(stored.id()) == H5T_STRING && shape.size() == 1, ErrorCategory::bad_file,
          path_ + ": array '" + name + "' is not a list of texts");
  Impl::check_size(*this, name, open.id(), shape,
                   std::max(H5Tget_size(stored.id()), sizeof(std::string)));
  auto texts = strings_of(open.id(), stored.id(), shape[0]);
  if (static_cast<int64_t>(texts.size()) != shape[0]) impl_->fail(*this, name, open.id());
  return texts;
}

std::optional<std::string> Hdf5File::attribute(const std::string& object,
                                               const std::string& name) const {
  if (object != "/" && !has(object)) return std::nullopt;
  const Hdf5Lock lock;
  const Handle open(H5Oopen(impl_->file.id(), object.c_str(), H5P_DEFAULT), H5Oclose);
  if (!open || H5Aexists(open.id(), name.c_str()) <= 0) return std::nullopt;
  const Handle found(H5Aopen(open.id(), name.c_str(), H5P_DEFAULT), H5Aclose);
  const Handle stored(H5Aget_type(found.id()), H5Tclose);
  const Handle space(H5Aget_space(found.id()), H5Sclose);
  if (H5Sget_simple_extent_npoints(space.id()) != 1) return std::nullopt;
  if (const auto memory = memory_type(stored.id())) {
    double number = 0;
    if (H5Aread(found.id(), H5T_NATIVE_DOUBLE, &number) < 0) return std::nullopt;
    return std::to_string(number);
  }
  if (H5Tget_class(stored.id()) != H5T_STRING) return std::nullopt;
  if (H5Tis_variable_str(stored.id()) > 0) {
    char* text = nullptr;
    const Handle memory(H5Tcopy(stored.id()), H5Tclose);
    if (H5Aread(found.id(), memory.id(), &text) < 0 || text == nullptr) return std::nullopt;
    const std::string copy = text;
    H5free_memory(text);
    return copy;
  }
  std::string text(H5Tget_size(stored.id()), '\0');
  if (H5Aread(found.id(), stored.id(), text.data()) < 0) return std::nullopt;
  text.erase(std::min(text.find('\0'), text.size()));
  return text;
}

bool has_hdf5() { return true; }

}  // namespace foresight::data

#else

namespace foresight::data {

struct Hdf5File::Impl {};

Hdf5File::Hdf5File(const std::filesystem::path& path) : path_(path.string()) {
  throw Error(ErrorCategory::unsupported,
              path_ +
                  ": this build of foresight has no HDF5. Install it (Debian/Ubuntu: apt-get "
                  "install libhdf5-dev) and configure foresight again");
}
Hdf5File::~Hdf5File() = default;
std::vector<std::string> Hdf5File::names(const std::string&) const { return {}; }
bool Hdf5File::has(const std::string&) const { return false; }
bool Hdf5File::is_group(const std::string&) const { return false; }
Hdf5Array Hdf5File::array(const std::string&) const { return {}; }
Tensor Hdf5File::read(const std::string&) const { return {}; }
Tensor Hdf5File::read_rows(const std::string&, at::IntArrayRef) const { return {}; }
std::vector<std::string> Hdf5File::read_texts(const std::string&) const { return {}; }
std::optional<std::string> Hdf5File::attribute(const std::string&, const std::string&) const {
  return std::nullopt;
}

bool has_hdf5() { return false; }

}  // namespace foresight::data

#endif
