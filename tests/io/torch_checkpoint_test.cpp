// SPDX-License-Identifier: Apache-2.0
// Checkpoints that torch.save wrote hold what tests/data/make_torch_checkpoints.py put into them.
#include "foresight/io/torch_checkpoint.hpp"

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "catch.hpp"
#include "error_message.hpp"
#include "raw_file.hpp"
#include "temporary_folder.hpp"

namespace foresight::torch_checkpoint_test {

using foresight::io::SafeTensors;
using foresight::io::TorchCheckpoint;

namespace {

const std::filesystem::path kFolder = FORESIGHT_TEST_DATA "/torch";

const SafeTensors& expected() {
  static const auto file = SafeTensors::open(kFolder / "expected.safetensors");
  return file;
}

/// Types that at::equal does not know are compared as bytes.
bool same(const Tensor& a, const Tensor& b) {
  const auto bytes = [](const Tensor& tensor) {
    return tensor.contiguous().view(-1).view(at::kByte);
  };
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() &&
         (a.numel() == 0 || at::equal(bytes(a), bytes(b)));
}

void check_file(const std::string& name) {
  INFO(name);
  const auto file = TorchCheckpoint::open(kFolder / name);
  const auto wanted = expected().tensors(name + "/");
  CHECK(file.names().size() == wanted.size());
  for (const auto& [key, tensor] : wanted) {
    INFO(key);
    REQUIRE(file.has(key));
    CHECK(same(file.at(key), tensor));
    CHECK(file.shape(key) == tensor.sizes());
    CHECK(file.dtype(key) == tensor.scalar_type());
  }
}

template <class T>
T scalar(const TorchCheckpoint& file, const std::string& name) {
  return std::get<T>(file.scalars().at(name));
}

}  // namespace

TEST_CASE("every tensor of every kind of checkpoint is read exactly") {
  std::set<std::string> files;
  for (const auto& name : expected().names()) files.insert(name.substr(0, name.find('/')));
  CHECK(files.size() == 10);
  for (const auto& name : files) check_file(name);
}

TEST_CASE("numbers and texts beside the tensors are kept, nested names are joined by dots") {
  const auto file = TorchCheckpoint::open(kFolder / "training.ckpt");
  CHECK(file.groups() == std::vector<std::string>{"state_dict", "optimizer_states"});
  CHECK(scalar<int64_t>(file, "epoch") == 3);
  CHECK(scalar<int64_t>(file, "global_step") == int64_t{1} << 40);
  CHECK(scalar<int64_t>(file, "negative") == -(int64_t{1} << 62));
  CHECK(scalar<double>(file, "lr") == 1e-3);
  CHECK(scalar<bool>(file, "ok"));
  CHECK(scalar<std::string>(file, "name") ==
        "gr\xc3\xbc\xc3\x9f"
        "e");
  CHECK(scalar<int64_t>(file, "shape.1") == 3);
  CHECK(scalar<std::string>(file, "dtype") == "torch.bfloat16");
  CHECK(scalar<std::string>(file, "device") == "cpu");
  CHECK(scalar<double>(file, "optimizer_states.0.param_groups.0.betas.1") == 0.999);
  CHECK_FALSE(file.scalars().contains("nothing"));
  const auto model = file.tensors("state_dict.");
  CHECK(model.size() == 7);
  CHECK(model.front().first == "0.bias");
}

TEST_CASE("groups of a file are told from dots in the names of a plain state dict") {
  CHECK(TorchCheckpoint::open(kFolder / "groups.pt").groups() ==
        std::vector<std::string>{"encoder", "target_encoder"});
  CHECK(TorchCheckpoint::open(kFolder / "state_dict_protocol_2.pt").groups().empty());
  CHECK(TorchCheckpoint::open(kFolder / "tensor.pt").groups().empty());
}

TEST_CASE("strides are kept, shared storage is shared, and aligned data is not copied") {
  const auto file = TorchCheckpoint::open(kFolder / "views.pt");
  CHECK(file.at("transposed").strides() == at::IntArrayRef{1, 6});
  CHECK(file.at("expanded").strides() == at::IntArrayRef{1, 0});
  CHECK(file.at("sliced").storage_offset() == 0);  // a view of the mapping from its first element
  CHECK(file.at("tied_a").const_data_ptr() == file.at("tied_b").const_data_ptr());
  CHECK(file.at("tied_a").const_data_ptr() == file.at("tied_a").const_data_ptr());
  // Another zip writer does not align: those tensors are copies, equal and aligned.
  const auto repacked = TorchCheckpoint::open(kFolder / "repacked.pt");
  bool copied = false;
  for (const auto& name : repacked.names()) {
    const auto tensor = repacked.at(name);
    if (tensor.numel() == 0) continue;
    CHECK(reinterpret_cast<std::uintptr_t>(tensor.const_data_ptr()) % tensor.element_size() == 0);
    copied = copied || tensor.const_data_ptr() != repacked.at(name).const_data_ptr();
  }
  CHECK(copied);
}

TEST_CASE("tensors outlive the file object, and writing into one leaves the file as it is") {
  const TemporaryFolder folder;
  const auto copy = folder / "a.pt";
  std::filesystem::copy_file(kFolder / "views.pt", copy);
  Tensor tensor;
  { tensor = TorchCheckpoint::open(copy).at("sliced"); }
  tensor.fill_(7);
  CHECK(tensor.sum().item<float>() == 42);
  CHECK(read_bytes(copy) == read_bytes(kFolder / "views.pt"));
}

TEST_CASE("an unknown name is an error with the nearest known one") {
  const auto file = TorchCheckpoint::open(kFolder / "state_dict_protocol_2.pt");
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { file.at("0.wieght"); }, "protocol_2.pt",
      "did you mean '0.weight'"));
}

}  // namespace foresight::torch_checkpoint_test
