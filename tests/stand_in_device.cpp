// SPDX-License-Identifier: Apache-2.0
// The stand-in keeps its memory unreadable but for the moments in which it copies, computes every
// operation with the CPU's kernels on copies of its arguments, and refuses what a GPU refuses.
//
// It takes the place of a device type that LibTorch knows and that no public build holds kernels
// for (HPU): a type of our own (PrivateUse1) is not among those to which a module can be moved.
#include "stand_in_device.hpp"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/HPUHooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_as_complex_native.h>
#include <ATen/ops/view_as_real_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <sys/mman.h>
#include <torch/library.h>

#include <cstdlib>
#include <mutex>
#include <new>
#include <string>
#include <string_view>

namespace foresight {
namespace {

constexpr auto kType = c10::DeviceType::HPU;
constexpr auto kKey = c10::DispatchKey::HPU;
const c10::Device kThere(kType, 0);

// ---- Memory that the host cannot touch
// ------------------------------------------------------------

struct Mapping {
  void* address;
  std::size_t size;
};

void unmap(void* context) {
  auto* mapping = static_cast<Mapping*>(context);
  ::munmap(mapping->address, mapping->size);
  delete mapping;
}

class Memory final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    if (bytes == 0) return {nullptr, kThere};
    const std::size_t page = 4096, size = (bytes + page - 1) / page * page;
    void* address = ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (address == MAP_FAILED) throw std::bad_alloc();
    return {address, new Mapping{address, size}, &unmap, kThere};
  }
  void copy_data(void*, const void*, std::size_t) const override {
    TORCH_CHECK(false, "the stand-in device copies by _copy_from only");
  }
};

Memory memory;
// One thread at a time looks into the memory: it is unreadable to all threads afterwards.
std::mutex looking;

// While it lives the memory of a tensor can be read and written, through on_host().
class Look {
 public:
  explicit Look(const at::Tensor& tensor) {
    if (tensor.device().type() == kType && tensor.storage().nbytes() > 0)
      mapping_ = static_cast<Mapping*>(tensor.storage().data_ptr().get_context());
    if (mapping_) ::mprotect(mapping_->address, mapping_->size, PROT_READ | PROT_WRITE);
  }
  ~Look() {
    if (mapping_) ::mprotect(mapping_->address, mapping_->size, PROT_NONE);
  }
  Look(const Look&) = delete;
  Look& operator=(const Look&) = delete;

 private:
  Mapping* mapping_ = nullptr;
};

at::Tensor on_host(const at::Tensor& tensor) {
  if (tensor.device().type() != kType) return tensor;
  if (tensor.numel() == 0) return at::empty(tensor.sizes(), tensor.options().device(at::kCPU));
  return at::from_blob(const_cast<void*>(tensor.const_data_ptr()), tensor.sizes(), tensor.strides(),
                       tensor.options().device(at::kCPU));
}

// ---- What a device must have of its own: memory, copies, views
// ------------------------------------

at::Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride,
                         std::optional<at::ScalarType> type, std::optional<at::Layout>,
                         std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(size, stride, &memory, c10::DispatchKeySet(kKey),
                                           type.value_or(at::kFloat));
}

at::Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> type,
                 std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>,
                 std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(size, &memory, c10::DispatchKeySet(kKey),
                                   type.value_or(at::kFloat), format);
}

const at::Tensor& resize_there(const at::Tensor& self, at::IntArrayRef size,
                               std::optional<at::MemoryFormat>) {
  if (self.sizes() == size) return self;
  auto* impl = self.unsafeGetTensorImpl();
  impl->set_sizes_contiguous(size);
  const auto bytes =
      (static_cast<std::size_t>(self.storage_offset()) + static_cast<std::size_t>(self.numel())) *
      self.itemsize();
  if (bytes > self.storage().nbytes()) {  // what was in it is lost: results are resized, not data
    self.storage().set_data_ptr_noswap(memory.allocate(bytes));
    self.storage().unsafeGetStorageImpl()->set_nbytes(bytes);
  }
  return self;
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  const std::scoped_lock lock(looking);
  const Look source(from), target(to);
  on_host(to).copy_(on_host(from));
  return to;
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  resize_there(to, from.sizes(), std::nullopt);
  return copy_from(from, to, false);
}

// ---- Everything else: the CPU's kernels, after the questions that a GPU's would ask
// ---------------

bool is_index(const std::string& name) {
  return name.starts_with("aten::index") && name != "aten::index_select" &&
         name != "aten::index_add" && name != "aten::index_copy";
}

void check_place(const std::string& name, const at::Tensor& tensor) {
  if (!tensor.defined() || tensor.device() == kThere) return;
  // As on a GPU: scalars in tensors of the CPU go with everything.
  TORCH_CHECK(tensor.dim() == 0 && tensor.is_cpu(),
              "Expected all tensors to be on the same device, "
              "but ",
              name, " got one of shape ", tensor.sizes(), " on ", tensor.device(),
              " among those on ", kThere);
}

// cuBLAS multiplies no integers.
void check_type(const std::string& name, const at::Tensor& tensor) {
  for (const char* product : {"aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm", "aten::dot",
                              "aten::mv", "aten::addmv"})
    TORCH_CHECK(name != product || !at::isIntegralType(tensor.scalar_type(), true), "\"", name,
                "\" not implemented for '", tensor.scalar_type(), "'");
}

void compute(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& name = op.schema().name();
  for (const auto& argument : torch::jit::last(*stack, op.schema().arguments().size())) {
    if (argument.isTensor()) {
      check_place(name, argument.toTensor());
      if (argument.toTensor().defined()) check_type(name, argument.toTensor());
    } else if (argument.isTensorList() && !is_index(name)) {
      for (const auto& tensor : argument.toTensorVector()) check_place(name, tensor);
    }
  }
  at::native::cpu_fallback(op, stack, /*error_on_views=*/true);
}

at::Tensor convolution(const at::Tensor& input, const at::Tensor& weight,
                       const std::optional<at::Tensor>& bias, at::IntArrayRef stride,
                       at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed,
                       at::IntArrayRef output_padding, int64_t groups) {
  check_place("aten::convolution", input);
  check_place("aten::convolution", weight);
  std::optional<at::Tensor> offset;
  if (bias && bias->defined()) {
    check_place("aten::convolution", *bias);
    offset = bias->cpu();
  }
  return at::convolution(input.cpu(), weight.cpu(), offset, stride, padding, dilation, transposed,
                         output_padding, groups)
      .to(kThere);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> convolution_backward(
    const at::Tensor& gradient, const at::Tensor& input, const at::Tensor& weight,
    at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed,
    at::IntArrayRef output_padding, int64_t groups, std::array<bool, 3> wanted) {
  const std::vector<int64_t> bias{weight.size(0)};
  auto [of_input, of_weight, of_bias] =
      at::convolution_backward(gradient.cpu(), input.cpu(), weight.cpu(), bias, stride, padding,
                               dilation, transposed, output_padding, groups, wanted);
  const auto there = [](const at::Tensor& tensor) {
    return tensor.defined() ? tensor.to(kThere) : tensor;
  };
  return {there(of_input), there(of_weight), there(of_bias)};
}

// Its schema does not say that it writes the running statistics.
std::tuple<at::Tensor, at::Tensor, at::Tensor> batch_norm(
    const at::Tensor& input, const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& mean,
    const std::optional<at::Tensor>& variance, bool training, double momentum, double epsilon) {
  const auto here = [](const std::optional<at::Tensor>& tensor) {
    if (!tensor || !tensor->defined()) return std::optional<at::Tensor>();
    check_place("aten::native_batch_norm", *tensor);
    return std::optional<at::Tensor>(tensor->cpu());
  };
  const auto running_mean = here(mean), running_variance = here(variance);
  auto [output, batch_mean, deviation] =
      at::native_batch_norm(*here(input), here(weight), here(bias), running_mean, running_variance,
                            training, momentum, epsilon);
  if (running_mean) mean->copy_(*running_mean);
  if (running_variance) variance->copy_(*running_variance);
  return {output.to(kThere), batch_mean.to(kThere), deviation.to(kThere)};
}

void record_stream(at::Tensor&, at::Stream) {}  // there is only one

// ---- One device, one stream
// -----------------------------------------------------------------------

class Guard final : public c10::impl::DeviceGuardImplInterface {
 public:
  c10::DeviceType type() const override { return kType; }
  c10::Device exchangeDevice(c10::Device) const override { return kThere; }
  c10::Device getDevice() const override { return kThere; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const override {
    return c10::Stream(c10::Stream::DEFAULT, kThere);
  }
  c10::Stream getDefaultStream(c10::Device device) const override { return getStream(device); }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override {
    return getStream(device);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override { return stream; }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void**, const c10::Stream&, const c10::DeviceIndex,
              const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
  void synchronizeEvent(void*) const override {}
  void synchronizeDevice(const c10::DeviceIndex) const override {}
};

C10_REGISTER_GUARD_IMPL(HPU, Guard)

TORCH_LIBRARY_IMPL(_, HPU, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&compute>());
}

TORCH_LIBRARY_IMPL(aten, HPU, library) {
  library.impl("empty.memory_format", &empty);
  library.impl("empty_strided", &empty_strided);
  library.impl("resize_", &resize_there);
  library.impl("_copy_from", &copy_from);
  library.impl("_copy_from_and_resize", &copy_from_and_resize);
  library.impl("as_strided", &at::native::as_strided_tensorimpl);
  library.impl("view", &at::native::view);
  library.impl("_reshape_alias", &at::native::_reshape_alias);
  library.impl("unfold", &at::native::unfold);
  library.impl("view_as_real", &at::native::view_as_real);
  library.impl("view_as_complex", &at::native::view_as_complex);
  library.impl("record_stream", &record_stream);
  library.impl("native_batch_norm", &batch_norm);
  library.impl("convolution_overrideable", &convolution);
  library.impl("convolution_backward_overrideable", &convolution_backward);
}

// What autograd asks for the stream of. There must be one accelerator: this is none beside a GPU.
bool is_asked_for() {
  const char* device = std::getenv("FORESIGHT_TEST_DEVICE");
  return device && std::string_view(device) == "stand-in";
}

class HPUHooks final : public at::HPUHooksInterface {
 public:
  explicit HPUHooks(at::HPUHooksArgs) {}
  void init() const override {}
  bool hasHPU() const override { return is_asked_for(); }
  bool isBuilt() const override { return is_asked_for(); }
  bool isAvailable() const override { return is_asked_for(); }
  at::Device getDeviceFromPtr(void*) const override { return kThere; }
  bool hasPrimaryContext(at::DeviceIndex) const override { return true; }
};
using at::HPUHooksRegistry;
using at::RegistererHPUHooksRegistry;
REGISTER_HPU_HOOKS(HPUHooks);

}  // namespace

c10::Device stand_in_device() {
  c10::SetAllocator(kType, &memory);
  return kThere;
}

}  // namespace foresight
