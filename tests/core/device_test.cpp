// SPDX-License-Identifier: Apache-2.0
#include "foresight/core/device.hpp"

#include <ATen/Context.h>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/core/noise.hpp"
#include "test_device.hpp"

namespace foresight::device_test {

TEST_CASE("a device is opened by its name, or the error says what is wrong with it") {
  CHECK(open_device("cpu") == at::Device(at::kCPU));
  CHECK_FALSE(device_name(at::kCPU).empty());
  for (const char* name : {"", "gpu", "CPU", "cuda:", "cuda:x", "cuda:123", "cuda:-1", "cpu:0"})
    CHECK(fails_with(
        ErrorCategory::invalid_option, [&] { open_device(name); },
        "device '" + std::string(name) + "', expected cpu, cuda or cuda:<number>"));
  if (at::hasCUDA()) {
    CHECK(open_device("cuda").is_cuda());
    CHECK(open_device("cuda:0").index() == 0);
    CHECK_FALSE(at::globalContext().allowTF32CuDNN());
    CHECK(fails_with(ErrorCategory::unsupported, [] { open_device("cuda:99"); }, "of them"));
  } else {
    CHECK(fails_with(ErrorCategory::unsupported, [] { open_device("cuda"); }, "no CUDA device"));
  }
}

TEST_CASE("a device draws the CPU's numbers, few and many", "[device]") {
  const at::TensorOptions there(test_device());
  for (const int64_t count : {1, 7, 15000, 200000}) {
    INFO(count << " numbers");
    PhiloxNoise on_cpu(5, 3), on_device(5, 3);
    for (int i = 0; i < 3; ++i) {  // one after the other: memory is used again
      CHECK(at::equal(on_device.uniform({count}, there).cpu(), on_cpu.uniform({count})));
      CHECK(
          at::allclose(on_device.normal({count}, there).cpu(), on_cpu.normal({count}), 1e-6, 2e-6));
    }
    CHECK(on_device.position() == on_cpu.position());
    CHECK(on_device.normal({2, 3}, there.dtype(at::kBFloat16)).device() == test_device());
  }
}

}  // namespace foresight::device_test
