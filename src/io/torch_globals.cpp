// SPDX-License-Identifier: Apache-2.0
#include "torch_globals.hpp"

#include <array>

namespace foresight::io {

namespace {

using Kind = TorchGlobal::Kind;

constexpr std::array<TorchGlobal, 38> kKnown{{
    {Kind::ordered_dict, at::kByte, "collections.OrderedDict"},
    {Kind::size, at::kByte, "torch.Size"},
    {Kind::device, at::kByte, "torch.device"},
    {Kind::rebuild_tensor, at::kByte, "torch._utils._rebuild_tensor_v2"},
    {Kind::rebuild_typed_tensor, at::kByte, "torch._utils._rebuild_tensor_v3"},
    {Kind::rebuild_parameter, at::kByte, "torch._utils._rebuild_parameter"},
    {Kind::storage, at::kDouble, "torch.DoubleStorage"},
    {Kind::storage, at::kFloat, "torch.FloatStorage"},
    {Kind::storage, at::kHalf, "torch.HalfStorage"},
    {Kind::storage, at::kBFloat16, "torch.BFloat16Storage"},
    {Kind::storage, at::kLong, "torch.LongStorage"},
    {Kind::storage, at::kInt, "torch.IntStorage"},
    {Kind::storage, at::kShort, "torch.ShortStorage"},
    {Kind::storage, at::kChar, "torch.CharStorage"},
    {Kind::storage, at::kByte, "torch.ByteStorage"},
    {Kind::storage, at::kBool, "torch.BoolStorage"},
    {Kind::storage, at::kComplexFloat, "torch.ComplexFloatStorage"},
    {Kind::storage, at::kComplexDouble, "torch.ComplexDoubleStorage"},
    {Kind::storage, at::kByte, "torch.storage.UntypedStorage"},
    {Kind::dtype, at::kDouble, "torch.float64"},
    {Kind::dtype, at::kFloat, "torch.float32"},
    {Kind::dtype, at::kHalf, "torch.float16"},
    {Kind::dtype, at::kBFloat16, "torch.bfloat16"},
    {Kind::dtype, at::kLong, "torch.int64"},
    {Kind::dtype, at::kInt, "torch.int32"},
    {Kind::dtype, at::kShort, "torch.int16"},
    {Kind::dtype, at::kChar, "torch.int8"},
    {Kind::dtype, at::kByte, "torch.uint8"},
    {Kind::dtype, at::kUInt16, "torch.uint16"},
    {Kind::dtype, at::kUInt32, "torch.uint32"},
    {Kind::dtype, at::kUInt64, "torch.uint64"},
    {Kind::dtype, at::kBool, "torch.bool"},
    {Kind::dtype, at::kComplexFloat, "torch.complex64"},
    {Kind::dtype, at::kComplexDouble, "torch.complex128"},
    {Kind::dtype, at::kFloat8_e4m3fn, "torch.float8_e4m3fn"},
    {Kind::dtype, at::kFloat8_e5m2, "torch.float8_e5m2"},
    {Kind::dtype, at::kFloat8_e8m0fnu, "torch.float8_e8m0fnu"},
    {Kind::dtype, at::kComplexHalf, "torch.complex32"},
}};

}  // namespace

std::optional<TorchGlobal> find_torch_global(std::string_view module, std::string_view name) {
  for (const auto& known : kKnown) {
    const auto dot = known.name.rfind('.');
    if (known.name.substr(0, dot) == module && known.name.substr(dot + 1) == name) return known;
  }
  return std::nullopt;
}

}  // namespace foresight::io
