// SPDX-License-Identifier: Apache-2.0
// The HDF5 C library made safe to use: one lock for all calls, its objects closed by themselves,
// its errors as text. Included by hdf5_file.cpp alone, as it includes the library's header. Private
// to the data folder.
#pragma once

#include <hdf5.h>

#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <string>
#include <utility>

namespace foresight::data {

// Where distributions put filters that HDF5 loads when a file needs them; HDF5 itself looks in
// $HDF5_PLUGIN_PATH and in one folder that was chosen when it was built.
inline constexpr const char* kHdf5PluginFolders[] = {
    "/usr/lib/x86_64-linux-gnu/hdf5/serial/plugins",
    "/usr/lib/aarch64-linux-gnu/hdf5/serial/plugins", "/usr/lib64/hdf5/plugin",
    "/usr/lib/hdf5/plugin", "/usr/local/hdf5/lib/plugin"};

// One lock for the library. It also keeps HDF5 from printing its errors: they become ours.
class Hdf5Lock {
 public:
  Hdf5Lock() : lock_(mutex()) {
    H5Eget_auto2(H5E_DEFAULT, &print_, &print_data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    static const bool plugins_known = [] {
      for (const char* folder : kHdf5PluginFolders)
        if (std::filesystem::is_directory(folder)) H5PLappend(folder);
      return true;
    }();
    static_cast<void>(plugins_known);
  }
  ~Hdf5Lock() { H5Eset_auto2(H5E_DEFAULT, print_, print_data_); }

 private:
  static std::mutex& mutex() {
    static std::mutex one;
    return one;
  }
  std::lock_guard<std::mutex> lock_;
  H5E_auto2_t print_ = nullptr;
  void* print_data_ = nullptr;
};

// HDF5 1.10 loses the memory of an object whose checksum is wrong. When it closes itself at the end
// of the program, it finds its lists of memory in use, waits for them in vain, and says "infinite
// loop closing library" unless its errors are not to be printed.
inline void keep_hdf5_quiet_at_exit() {
  static const int registered =  // after HDF5's own function, so that it is called before it
      std::atexit([] { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); });
  static_cast<void>(registered);
}

// A library object that is closed by its kind's function.
class Hdf5Handle {
 public:
  Hdf5Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {
    if (id_ < 0) keep_hdf5_quiet_at_exit();  // it may be damaged
  }
  ~Hdf5Handle() {
    if (id_ >= 0) close_(id_);
  }
  Hdf5Handle(Hdf5Handle&& other) noexcept
      : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Hdf5Handle& operator=(Hdf5Handle&&) = delete;
  explicit operator bool() const { return id_ >= 0; }
  hid_t id() const { return id_; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

// The message of the call where it went wrong: the outer ones only name who called.
inline std::string hdf5_reason() {
  std::string innermost;
  const auto take_first = [](unsigned depth, const H5E_error2_t* error, void* out) -> herr_t {
    if (depth == 0 && error->desc != nullptr) *static_cast<std::string*>(out) = error->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_first, &innermost);
  H5Eclear2(H5E_DEFAULT);
  return innermost.empty() ? "unknown reason" : innermost;
}

// What to do about an object of a later format than this library knows (h5py's libver='latest').
inline constexpr const char* kOfNewerHdf5 =
    ". If a newer HDF5 wrote it, `h5repack --high=2 OLD NEW` of that one helps";

}  // namespace foresight::data
