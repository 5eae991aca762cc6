// SPDX-License-Identifier: Apache-2.0
// Losses and their gradients against the reference implementation, in float32 and float64.
#include "foresight/losses/inverse_dynamics.hpp"
#include "foresight/losses/sigreg.hpp"
#include "foresight/losses/straightening.hpp"
#include "foresight/losses/temporal.hpp"
#include "foresight/losses/terms.hpp"
#include "foresight/losses/vicreg.hpp"
#include "golden.hpp"

namespace foresight::parity_test {

namespace {

constexpr std::array kTypes{at::kFloat, at::kDouble};

std::string section(at::ScalarType type) { return type == at::kDouble ? "outputs64/" : "outputs/"; }

void check_all_compared(const Golden& golden) {
  CHECK(golden.uncompared("outputs").empty());
  CHECK(golden.uncompared("outputs64").empty());
}

}  // namespace

TEST_CASE("sigreg equals the reference with injected directions", "[parity][device]") {
  for_each_golden("losses/sigreg", [](Golden& golden) {
    for (const auto& [name, config] : golden.config().at("cases").items()) {
      for (const auto type : kTypes) {
        const losses::SigRegOptions options{.projections = config.at("num_proj"),
                                            .knots = config.at("knots"),
                                            .t_max = golden.config().at("t_max")};
        const auto raw = golden.input(name + "_A_raw").to(type);
        const auto x = golden.input(name + "_proj").to(type).requires_grad_();
        RecordedNoise noise;
        noise.push(raw);
        const auto loss = losses::sigreg(x, options, noise);
        CHECK(noise.remaining() == 0);
        loss.backward();
        const auto compare = [&, &name = name](const char* what, const Tensor& actual) {
          const auto key = section(type) + name + what;
          if (type == at::kDouble)
            golden.compare_within(key, actual, {1e-7, 1e-7, 0},
                                  "the original's quadrature is float32 in its float64 run too");
          else
            golden.compare(key, actual);
        };
        const auto quadrature = losses::sigreg_quadrature(options, type);
        compare("_loss", loss);
        compare("_grad", x.grad());
        compare("_t", quadrature.knots);
        compare("_phi", quadrature.gaussian);
        compare("_weights", quadrature.weights);
        golden.compare(section(type) + name + "_A", raw / raw.norm(2, {0}, true));
      }
    }
    check_all_compared(golden);
  });
}

TEST_CASE("the four variance and covariance terms equal the reference", "[parity][device]") {
  for_each_golden("losses/vcreg", [](Golden& golden) {
    for (const auto& [name, config] : golden.config().at("cases").items()) {
      const double epsilon = config.at("eps");
      for (const auto type : kTypes) {
        const auto compare = [&, &name = name](const std::string& term, auto&& loss_of) {
          const auto z = golden.input(name + "_z").to(type).requires_grad_();
          const auto loss = loss_of(z);
          loss.backward();
          golden.compare(section(type) + name + "_" + term, loss);
          golden.compare(section(type) + name + "_" + term + "_grad", z.grad());
        };
        compare("std_loss", [&](const Tensor& z) { return losses::vicreg_std(z, epsilon); });
        compare("std_t_loss", [&](const Tensor& z) { return losses::vicreg_std_t(z, epsilon); });
        compare("cov_loss", [&](const Tensor& z) { return losses::vicreg_cov(z); });
        compare("cov_t_loss", [&](const Tensor& z) { return losses::vicreg_cov_t(z); });
      }
    }
    check_all_compared(golden);
  });
}

TEST_CASE("the weighted PLDM loss equals the reference term by term and in its gradient",
          "[parity][device]") {
  for_each_golden("losses/pldm_loss", [](Golden& golden) {
    for (const std::string name : golden.config().at("cases")) {
      for (const auto type : kTypes) {
        const auto z = golden.input(name + "_z").to(type).requires_grad_();
        const auto predicted = golden.input(name + "_a_pred").to(type).requires_grad_();
        const auto target = golden.input(name + "_a_target").to(type);
        losses::Terms terms;
        for (const auto& [term, weight] : golden.ordered_config().at("weights").items()) {
          const auto value = term == "idm_loss" ? losses::inverse_dynamics(predicted, target)
                             : term == "temp_align_loss" ? losses::temporal_similarity(z)
                             : term == "std_loss"        ? losses::vicreg_std(z)
                             : term == "std_t_loss"      ? losses::vicreg_std_t(z)
                             : term == "cov_loss"        ? losses::vicreg_cov(z)
                                                         : losses::vicreg_cov_t(z);
          terms.add(term, weight.get<double>(), value);
          golden.compare(section(type) + name + "_" + term, terms.at(term).value);
        }
        terms.total().backward();
        golden.compare(section(type) + name + "_total", terms.total());
        golden.compare(section(type) + name + "_grad_z", z.grad());
        golden.compare(section(type) + name + "_grad_a_pred", predicted.grad());
      }
    }
    check_all_compared(golden);
  });
}

TEST_CASE("straightening equals the reference, repeated frames included", "[parity][device]") {
  for_each_golden("losses/straightening", [](Golden& golden) {
    for (const std::string name : golden.config().at("cases")) {
      for (const auto type : kTypes) {
        const auto x = golden.input(name + "_x").to(type).requires_grad_();
        const auto loss = losses::straightening(x);
        loss.backward();
        golden.compare(section(type) + name + "_loss", loss);
        golden.compare(section(type) + name + "_grad", x.grad());
      }
    }
    check_all_compared(golden);
  });
}

}  // namespace foresight::parity_test
