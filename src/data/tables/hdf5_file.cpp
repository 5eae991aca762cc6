// SPDX-License-Identifier: Apache-2.0
#include "hdf5_file.hpp"

#include "foresight/core/error.hpp"

#if FORESIGHT_HAS_HDF5

#include <algorithm>
#include <chrono>
#include <thread>

#include "foresight/data/unreadable.hpp"
#include "hdf5_pool.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;

constexpr H5Z_filter_t kBlosc = 32001;  // registered with the HDF Group

// HDF5 lets others read what a recorder in SWMR mode adds to: it is looked at now and then.
constexpr std::chrono::seconds kPause{1};

using Handle = Hdf5Handle;

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

}  // namespace

struct Hdf5File::Impl {
  std::mutex following;
  Hdf5State state;  // when it was opened, or last found to have grown; under both locks
  bool recorded = false;
  std::function<bool(const Hdf5File&)> holds;
  std::optional<FileStamp> refused;
  std::chrono::steady_clock::time_point looked = std::chrono::steady_clock::now();

  // Under the library's lock.
  Hdf5Pool::File& opened(const Hdf5File& owner, bool first = false) const {
    return Hdf5Pool::one().open(owner.path(), state, first, recorded);
  }
  hid_t file(const Hdf5File& owner) const { return opened(owner).handle.id(); }

  // What `read()` gives, under the library's lock, of a file that does not change meanwhile.
  template <class Read>
  static auto of_one_state(const Hdf5File& owner, Read&& read) {
    constexpr int kTries = 5;
    for (int i = 0; i < kTries; ++i) {
      owner.follow();
      const Hdf5Lock lock;
      const auto& impl = *owner.impl_;
      const auto unchanged = [&] {
        return impl.recorded || has_stamp(owner.path(), impl.state.stamp);
      };
      try {
        auto value = read();
        if (unchanged()) return value;
      } catch (const Error&) {
        if (unchanged()) throw;
      }
    }
    throw Error(ErrorCategory::bad_file, owner.path() + ": changes whenever it is read");
  }

  [[noreturn]] static void fail(const Hdf5File& owner, const std::string& name, hid_t array) {
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
    auto stored = static_cast<std::uintmax_t>(owner.impl_->state.stamp.bytes);
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

Hdf5File::Hdf5File(const fs::path& path) : Hdf5File(path, std::chrono::seconds(0)) {}

Hdf5File::Hdf5File(const fs::path& path, std::chrono::seconds shared)
    : path_(path.string()), impl_(std::make_unique<Impl>()) {
  require(fs::is_regular_file(path), ErrorCategory::not_found, path_ + ": no such file");
  impl_->state = hdf5_state(path_);
  const Hdf5Lock lock;
  const auto known = Hdf5Pool::one().recorded_within(impl_->state.id, shared);
  if (known) impl_->state.stamp = *known;
  impl_->recorded = impl_->opened(*this, /*first=*/true).in_swmr;
  Hdf5Pool::one().add_user(impl_->state.id);
}

Hdf5File::~Hdf5File() {
  const Hdf5Lock lock;
  Hdf5Pool::one().remove_user(impl_->state.id);
}

bool Hdf5File::is_recorded_now() const {
  const Hdf5Lock lock;
  return impl_->recorded;
}

void Hdf5File::accept_growth(std::function<bool(const Hdf5File& now)> holds) const {
  const std::lock_guard one(impl_->following);
  impl_->holds = std::move(holds);
}

void Hdf5File::follow() const {
  const std::lock_guard one(impl_->following);
  if (has_stamp(path_, impl_->state.stamp)) return;
  const Hdf5State then = impl_->state, now = hdf5_state(path_);
  if (now.stamp == then.stamp) return;
  const bool same_file = now.id == then.id;
  const auto since = std::chrono::steady_clock::now() - impl_->looked;
  if (same_file && impl_->recorded && (!impl_->holds || since < kPause)) return;
  if (impl_->holds && same_file && impl_->refused != now.stamp) {
    constexpr int kTries = 20;  // the change may be under way
    for (int i = 0; i < kTries; ++i) {
      if (i > 0) std::this_thread::sleep_for(std::chrono::milliseconds(100));
      if (has_grown()) return;
    }
    impl_->refused = file_stamp(path_);
  }
  require_same(path_, then.stamp, now.stamp);
}

bool Hdf5File::has_grown() const {
  try {
    const Hdf5File file(path_, kPause);  // once for all who read it
    const auto &then = impl_->state, &now = file.impl_->state;
    const bool longer =  // a recorder's mark comes and goes without a byte more
        impl_->recorded || file.impl_->recorded || now.stamp.bytes > then.stamp.bytes;
    if (now.id != then.id || !longer || !impl_->holds(file)) return false;
    const Hdf5Lock lock;
    impl_->state = now;
    impl_->recorded = file.impl_->recorded;
  } catch (const Error& problem) {
    if (!is_unreadable(problem)) throw;
    return false;
  }
  impl_->looked = std::chrono::steady_clock::now();
  return true;
}

std::vector<std::string> Hdf5File::names(const std::string& group) const {
  std::vector<std::string> all;
  if (!is_group(group)) return all;
  const Hdf5Lock lock;
  const Handle open(H5Gopen2(impl_->file(*this), group.c_str(), H5P_DEFAULT), H5Gclose);
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
  follow();
  const Hdf5Lock lock;
  const hid_t file = impl_->file(*this);
  // Every part of the path must exist before its whole may be asked for.
  for (std::size_t slash = name.find('/', 1); slash != std::string::npos;
       slash = name.find('/', slash + 1))
    if (H5Lexists(file, name.substr(0, slash).c_str(), H5P_DEFAULT) <= 0) return false;
  return H5Lexists(file, name.c_str(), H5P_DEFAULT) > 0;
}

bool Hdf5File::is_group(const std::string& name) const {
  follow();
  if (name != "/" && !has(name)) return false;
  const Hdf5Lock lock;
  const Handle open(H5Gopen2(impl_->file(*this), name.c_str(), H5P_DEFAULT), H5Gclose);
  return static_cast<bool>(open);
}

Hdf5Array Hdf5File::array(const std::string& name) const {
  follow();
  const Hdf5Lock lock;
  Hdf5Array found;
  const hid_t file = impl_->file(*this);
  const Handle open = open_hdf5_array(file, name);
  if (!open) {
    found.problem = hdf5_reason() + kOfNewerHdf5;
    return found;
  }
  const Handle stored(H5Dget_type(open.id()), H5Tclose);
  if (!stored) {
    found.problem = hdf5_reason() + kOfNewerHdf5;
    return found;
  }
  found.shape = hdf5_shape(open.id());
  if (const auto memory = hdf5_memory_type(stored.id())) found.type = memory->type;
  found.text = H5Tget_class(stored.id()) == H5T_STRING && found.shape.size() == 1;
  if (file_of(open.id()) == file_of(file))  // another path may have opened it
    found.problem = beyond_end(open.id(), impl_->state.stamp.bytes);
  found.cut = !found.problem.empty();
  return found;
}

Tensor Hdf5File::read(const std::string& name) const {
  return Impl::of_one_state(*this, [&] {
    const Handle open = open_hdf5_array(impl_->file(*this), name);
    if (!open) Impl::fail(*this, name, -1);
    const Handle stored(H5Dget_type(open.id()), H5Tclose);
    const auto memory = hdf5_memory_type(stored.id());
    require(memory.has_value(), ErrorCategory::bad_file,
            path_ + ": array '" + name + "' holds no numbers");
    const auto shape = hdf5_shape(open.id());
    Impl::check_size(*this, name, open.id(), shape, c10::elementSize(memory->type));
    const bool booleans = memory->type == at::kBool;  // whose bytes may hold any number
    Tensor values = at::empty(shape, booleans ? at::kByte : memory->type);
    void* to = values.mutable_data_ptr();
    if (H5Dread(open.id(), memory->hdf5, H5S_ALL, H5S_ALL, H5P_DEFAULT, to) < 0)
      Impl::fail(*this, name, open.id());
    return booleans ? values.ne(0) : values;
  });
}

Tensor Hdf5File::read_rows(const std::string& name, at::IntArrayRef rows) const {
  const auto check = [&](hid_t array) {
    if (array < 0) Impl::fail(*this, name, array);
    const auto shape = hdf5_shape(array);
    require(!shape.empty(), ErrorCategory::bad_file, path_ + ": array '" + name + "' has no rows");
    Impl::check_size(*this, name, array, shape, 1);
  };
  return Impl::of_one_state(*this, [&] {
    auto& array = Hdf5Pool::one().array(impl_->opened(*this), name, check);
    for (const int64_t row : rows)
      if (row < 0 || row >= array.rows)
        throw Error(ErrorCategory::bad_file, path_ + ": array '" + name + "' has " +
                                                 std::to_string(array.rows) + " rows, row " +
                                                 std::to_string(row) + " is missing");
    std::vector<int64_t> shape(array.count.begin(), array.count.end());
    shape[0] = static_cast<int64_t>(rows.size());
    Tensor values = at::empty(shape, at::kByte);
    const int64_t bytes = rows.empty() ? 0 : values.numel() / shape[0];
    auto* to = values.mutable_data_ptr<std::uint8_t>();
    for (std::size_t i = 0, run = 1; i < rows.size(); i += run) {
      // Rows that follow each other at once: HDF5 is slow with those that leave some out.
      for (run = 1; i + run < rows.size() && rows[i + run] == rows[i] + static_cast<int64_t>(run);)
        ++run;
      if (!array.read(rows[i], run, to + static_cast<int64_t>(i) * bytes))
        Impl::fail(*this, name, array.handle.id());
    }
    return values;
  });
}

std::vector<std::string> Hdf5File::read_texts(const std::string& name) const {
  return Impl::of_one_state(*this, [&] {
    const Handle open = open_hdf5_array(impl_->file(*this), name);
    if (!open) Impl::fail(*this, name, -1);
    const Handle stored(H5Dget_type(open.id()), H5Tclose);
    const auto shape = hdf5_shape(open.id());
    require(H5Tget_class(stored.id()) == H5T_STRING && shape.size() == 1, ErrorCategory::bad_file,
            path_ + ": array '" + name + "' is not a list of texts");
    Impl::check_size(*this, name, open.id(), shape,
                     std::max(H5Tget_size(stored.id()), sizeof(std::string)));
    auto texts = hdf5_strings(open.id(), stored.id(), shape[0]);
    if (static_cast<int64_t>(texts.size()) != shape[0]) Impl::fail(*this, name, open.id());
    return texts;
  });
}

std::optional<std::string> Hdf5File::attribute(const std::string& object,
                                               const std::string& name) const {
  follow();
  if (object != "/" && !has(object)) return std::nullopt;
  const Hdf5Lock lock;
  const Handle open(H5Oopen(impl_->file(*this), object.c_str(), H5P_DEFAULT), H5Oclose);
  if (!open || H5Aexists(open.id(), name.c_str()) <= 0) return std::nullopt;
  const Handle found(H5Aopen(open.id(), name.c_str(), H5P_DEFAULT), H5Aclose);
  const Handle stored(H5Aget_type(found.id()), H5Tclose);
  const Handle space(H5Aget_space(found.id()), H5Sclose);
  if (H5Sget_simple_extent_npoints(space.id()) != 1) return std::nullopt;
  if (const auto memory = hdf5_memory_type(stored.id())) {
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
bool Hdf5File::is_recorded_now() const { return false; }
void Hdf5File::accept_growth(std::function<bool(const Hdf5File&)>) const {}
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
