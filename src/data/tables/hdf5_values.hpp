// SPDX-License-Identifier: Apache-2.0
// Types, shapes and texts of HDF5's arrays, in terms of tensors. Under the library's lock. Included
// by hdf5_file.cpp alone, as it includes the library's header. Private to the data folder.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "foresight/core/tensor.hpp"
#include "hdf5_handle.hpp"

namespace foresight::data {

inline std::vector<int64_t> hdf5_shape(hid_t array) {
  const Hdf5Handle space(H5Dget_space(array), H5Sclose);
  const int rank = H5Sget_simple_extent_ndims(space.id());
  std::vector<hsize_t> sizes(static_cast<std::size_t>(std::max(rank, 0)));
  if (rank > 0) H5Sget_simple_extent_dims(space.id(), sizes.data(), nullptr);
  return {sizes.begin(), sizes.end()};
}

struct Hdf5MemoryType {
  at::ScalarType type;
  hid_t hdf5;
};

// h5py's booleans: an enumeration of one byte with FALSE = 0 and TRUE = 1, and no others.
inline bool is_hdf5_boolean(hid_t stored) {
  char no = 1, yes = 0;
  return H5Tget_class(stored) == H5T_ENUM && H5Tget_size(stored) == 1 &&
         H5Tget_nmembers(stored) == 2 && H5Tenum_valueof(stored, "FALSE", &no) >= 0 &&
         H5Tenum_valueof(stored, "TRUE", &yes) >= 0 && no == 0 && yes == 1;
}

// The tensor type for a stored one, and as what HDF5 reads it: an enumeration does not convert to a
// number, so one of a byte is read as it is.
inline std::optional<Hdf5MemoryType> hdf5_memory_type(hid_t stored) {
  const std::size_t bytes = H5Tget_size(stored);
  switch (H5Tget_class(stored)) {
    case H5T_FLOAT:
      if (bytes <= 4) return Hdf5MemoryType{at::kFloat, H5T_NATIVE_FLOAT};
      return Hdf5MemoryType{at::kDouble, H5T_NATIVE_DOUBLE};
    case H5T_INTEGER: {
      const bool is_signed = H5Tget_sign(stored) == H5T_SGN_2;
      if (bytes == 1 && !is_signed) return Hdf5MemoryType{at::kByte, H5T_NATIVE_UINT8};
      if (bytes == 1) return Hdf5MemoryType{at::kChar, H5T_NATIVE_INT8};
      if (bytes == 2 && is_signed) return Hdf5MemoryType{at::kShort, H5T_NATIVE_INT16};
      if (bytes == 4 && is_signed) return Hdf5MemoryType{at::kInt, H5T_NATIVE_INT32};
      return Hdf5MemoryType{at::kLong, H5T_NATIVE_INT64};
    }
    case H5T_ENUM: {
      if (bytes != 1) return std::nullopt;
      if (is_hdf5_boolean(stored)) return Hdf5MemoryType{at::kBool, stored};
      const Hdf5Handle numbers(H5Tget_super(stored), H5Tclose);
      const bool is_signed = H5Tget_sign(numbers.id()) == H5T_SGN_2;
      return Hdf5MemoryType{is_signed ? at::kChar : at::kByte, stored};
    }
    default:
      return std::nullopt;
  }
}

// Empty if they cannot be read.
inline std::vector<std::string> hdf5_strings(hid_t array, hid_t stored, int64_t count) {
  const auto rows = static_cast<std::size_t>(count);
  std::vector<std::string> texts(rows);
  const Hdf5Handle memory(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_cset(memory.id(), H5Tget_cset(stored));
  if (H5Tis_variable_str(stored) > 0) {
    H5Tset_size(memory.id(), H5T_VARIABLE);
    std::vector<char*> pointers(rows, nullptr);
    if (H5Dread(array, memory.id(), H5S_ALL, H5S_ALL, H5P_DEFAULT, pointers.data()) < 0) return {};
    for (std::size_t i = 0; i < rows; ++i)
      if (pointers[i] != nullptr) texts[i] = pointers[i];
    const Hdf5Handle space(H5Dget_space(array), H5Sclose);
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

}  // namespace foresight::data
