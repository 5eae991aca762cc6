// SPDX-License-Identifier: Apache-2.0
// Strict loading: everything fits, or everything that does not is reported and nothing is loaded.
#include "foresight/io/load_tensors.hpp"

#include <string>

#include "anonymous_memory.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "temporary_folder.hpp"

namespace foresight::load_tensors_test {

using foresight::io::DtypeRule;
using foresight::io::load_into;
using foresight::io::NamedTensors;

TEST_CASE("a fitting file fills tensors that require gradients, in place") {
  TemporaryFolder folder;
  const auto path = folder / "m.safetensors";
  io::write_safetensors(path,
                        {{"net.weight", at::arange(6.0).view({2, 3})}, {"net.bias", at::ones(2)}});
  Tensor weight = at::zeros({2, 3}).set_requires_grad(true), bias = at::zeros(2);
  load_into({{"bias", bias}, {"weight", weight}}, io::SafeTensors::open(path), DtypeRule::exact,
            "net.");
  CHECK(weight.detach().equal(at::arange(6.0).view({2, 3})));
  CHECK(weight.requires_grad());
  CHECK(weight.is_leaf());
  CHECK(bias.equal(at::ones(2)));
}

TEST_CASE("every missing, unexpected and misfitting tensor is reported and nothing is loaded") {
  Tensor fitting = at::zeros(2), renamed = at::zeros(3), misshaped = at::zeros({2, 2}),
         mistyped = at::zeros(1);
  const NamedTensors targets{{"fitting", fitting},
                             {"encoder.weight", renamed},
                             {"misshaped", misshaped},
                             {"mistyped", mistyped}};
  const NamedTensors given{{"fitting", at::ones(2)},
                           {"encoder.weigth", at::ones(3)},
                           {"misshaped", at::ones(4)},
                           {"mistyped", at::ones(1, at::kHalf)},
                           {"zzz", at::ones({5, 6})}};
  const auto load = [&] { load_into(targets, given, "model.safetensors"); };
  const auto message = error_message(ErrorCategory::bad_file, load);
  INFO(message);
  for (const char* words :
       {"model.safetensors: 5 tensors do not fit the model, nothing was loaded",
        "'encoder.weight' is missing, expected Float [3]; is it 'encoder.weigth'?",
        "'encoder.weigth' is unexpected: Float [3]", "'misshaped' has shape [4], expected [2, 2]",
        "'mistyped' has type Half, expected Float", "'zzz' is unexpected: Float [5, 6]"})
    CHECK(message.find(words) != std::string::npos);
  for (const auto& [name, target] : targets) CHECK(target.eq(0).all().item<bool>());
}

TEST_CASE("an unexpected name is offered once, to the missing one that it is nearest to") {
  // Both are near enough, the first of the two by its letter.
  const NamedTensors targets{{"block.0.weight", at::zeros(3)}, {"block.1.weight", at::zeros(3)}};
  const NamedTensors one{{"block.1.wieght", at::ones(3)}};
  const auto message =
      error_message(ErrorCategory::bad_file, [&] { load_into(targets, one, "m"); });
  INFO(message);
  CHECK(message.find("'block.0.weight' is missing, expected Float [3]\n") != std::string::npos);
  CHECK(message.find("'block.1.weight' is missing, expected Float [3]; is it 'block.1.wieght'?") !=
        std::string::npos);
  // What is left goes to the next.
  const NamedTensors two{{"block.1.wieght", at::ones(3)}, {"block.1.w", at::ones(3)}};
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { load_into(targets, two, "m"); },
      "'block.0.weight' is missing, expected Float [3]; is it 'block.1.w'?"));
}

TEST_CASE("types may be converted within their kind, if asked") {
  Tensor real = at::zeros(2), counter = at::zeros({}, at::kLong);
  const NamedTensors targets{{"real", real}, {"counter", counter}};
  const NamedTensors given{{"real", at::full(2, 1.5, at::kBFloat16)},
                           {"counter", at::full({}, 7, at::kInt)}};
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { load_into(targets, given, "m"); }, "'real' has type"));
  load_into(targets, given, "m", DtypeRule::same_kind);
  CHECK(real.eq(1.5).all().item<bool>());
  CHECK(counter.item<int64_t>() == 7);

  Tensor narrow = at::zeros({}, at::kByte);
  CHECK(fails_with(
      ErrorCategory::bad_file,
      [&] {
        load_into({{"n", narrow}}, {{"n", at::full({}, 300, at::kLong)}}, "m",
                  DtypeRule::same_kind);
      },
      "integers that do not fit"));
  CHECK(fails_with(
      ErrorCategory::bad_file,
      [&] {
        load_into({{"n", narrow}}, {{"n", at::ones({})}}, "m", DtypeRule::same_kind);
      },
      "has type Float"));
}

TEST_CASE("repeated and undefined tensors are reported") {
  Tensor target = at::zeros(1);
  CHECK(fails_with(
      ErrorCategory::bad_file,
      [&] {
        load_into({{"a", target}, {"a", target}}, {{"a", target}}, "m");
      },
      "twice in the model"));
  CHECK(fails_with(
      ErrorCategory::bad_file,
      [&] {
        load_into({{"a", target}}, {{"a", Tensor()}}, "m");
      },
      "undefined in the file"));
}

TEST_CASE("sharing takes over the file's memory where it can, and copies where it cannot") {
  const TemporaryFolder folder;
  io::write_safetensors(folder / "w", {{"same", at::full({2, 3}, 1.0)},
                                       {"half", at::full({2, 3}, 2.0, at::kHalf)},
                                       {"counter", at::full({}, 3, at::kLong)}});
  const auto file = io::SafeTensors::open(folder / "w");
  Tensor same = at::zeros({2, 3}).requires_grad_(), half = at::zeros({2, 3}),
         counter = at::zeros({}, at::kLong);
  const Tensor alias = same;  // as a module holds a parameter twice: as a member and by its name
  load_into({{"same", same}, {"half", half}, {"counter", counter}}, file.tensors(), "w",
            DtypeRule::same_kind, io::Placement::share);
  CHECK(same.const_data_ptr() == file.at("same").const_data_ptr());
  CHECK(counter.const_data_ptr() == file.at("counter").const_data_ptr());
  CHECK(alias.eq(1.0).all().item<bool>());
  CHECK(same.requires_grad());
  CHECK(half.scalar_type() == at::kFloat);
  CHECK(half.eq(2.0).all().item<bool>());
  same.sum().backward();
  CHECK(same.grad().eq(1.0).all().item<bool>());

  Tensor transposed = at::zeros({3, 2});
  const auto strided = at::arange(6, at::kFloat).view({2, 3}).t();
  load_into({{"t", transposed}}, {{"t", strided}}, "w", DtypeRule::exact, io::Placement::share);
  CHECK(transposed.is_contiguous());
  CHECK(at::equal(transposed, strided));
}

TEST_CASE("weights that are shared with their file are in memory once, and not as the process's") {
  if (anonymous_memory() < 0) {
    WARN("/proc/self/status tells no RssAnon here");
    return;
  }
  constexpr int64_t kMiB = 64;
  const TemporaryFolder folder;
  io::write_safetensors(folder / "w", {{"large", at::full({kMiB, 1024, 256}, 0.5)}});
  const auto file = io::SafeTensors::open(folder / "w");
  const auto memory_taken = [&](io::Placement placement) {
    const auto before = anonymous_memory();
    Tensor weights = at::empty({kMiB, 1024, 256});  // not touched before it is filled
    load_into({{"large", weights}}, file.tensors(), "w", io::DtypeRule::exact, placement);
    CHECK(weights.sum().item<double>() == 0.5 * static_cast<double>(weights.numel()));
    return anonymous_memory() - before;
  };
  CHECK(memory_taken(io::Placement::share) < 0.1 * kMiB);
  CHECK(memory_taken(io::Placement::copy) > 0.9 * kMiB);
}

TEST_CASE("the checks alone say the same and change nothing") {
  Tensor target = at::zeros(2);
  io::check_fit({{"a", target}}, {{"a", at::ones(2)}}, "m");
  CHECK(target.eq(0).all().item<bool>());
  CHECK(fails_with(
      ErrorCategory::bad_file,
      [&] {
        io::check_fit({{"a", target}}, {{"b", at::ones(2)}}, "m");
      },
      "'a' is missing", "'b'"));
}

}  // namespace foresight::load_tensors_test
