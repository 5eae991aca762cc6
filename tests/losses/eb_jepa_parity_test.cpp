// SPDX-License-Identifier: Apache-2.0
// Loss terms and their gradients against facebookresearch/eb_jepa.
#include "foresight/losses/latent_regulariser.hpp"
#include "foresight/losses/prediction.hpp"
#include "foresight/losses/temporal.hpp"
#include "foresight/losses/two_views.hpp"
#include "foresight/nn/mlp.hpp"
#include "foresight/nn/projector.hpp"
#include "foresight/nn/state_dict.hpp"
#include "golden.hpp"

namespace foresight::losses_eb_jepa_parity_test {
namespace {

// One loss of the fixture in one precision: its tensors with gradients, its networks, and what is
// compared.
class LossCase {
 public:
  LossCase(Golden& golden, const nlohmann::json& config, at::ScalarType type)
      : golden_(golden), config_(config), type_(type), name_(config.at("name")) {
    for (const auto& [argument, tensor] : config.at("tensors").items())
      inputs_[argument] = golden.input(tensor.get<std::string>()).to(type).requires_grad_();
  }
  const std::string& name() const { return name_; }
  std::string type() const { return config_.at("type"); }
  const Tensor& input(const std::string& argument) const { return inputs_.at(argument); }
  bool has(const std::string& argument) const { return inputs_.contains(argument); }
  nlohmann::json option(const char* key, nlohmann::json otherwise) const {
    if (!config_.contains("options")) return otherwise;
    return config_.at("options").value(key, otherwise);
  }

  // A network below `path` with the fixture's weights; its gradients are compared at the end.
  template <class Module>
  std::shared_ptr<Module> network(const std::string& path, std::shared_ptr<Module> module) {
    module->to(test_device(), type_);
    io::NamedTensors params;
    const auto prefix = name_ + "." + path + ".";
    for (const auto& [key, tensor] : golden_.section("params"))
      if (key.starts_with(prefix)) params.emplace_back(key.substr(prefix.size()), tensor);
    nn::load_state_dict(*module, params, golden_.name());
    networks_[path] = module;
    return module;
  }

  void compare(const std::string& key, const Tensor& value) {
    golden_.compare(name_ + (key.empty() ? "" : "." + key), value);
  }
  void compare_term(const std::string& key, const losses::Terms& terms, const char* name) {
    compare(key, terms.has(name) ? terms.at(name).value : at::zeros({}, type_));
  }
  // Gradients of `loss`, and buffers after it.
  void finish(const Tensor& loss) {
    loss.backward();
    const bool is_float = type_ == at::kFloat;
    for (const auto& [argument, tensor] : inputs_) {
      const auto key = "grads/" + name_ + ".input." + argument;
      if (is_float && golden_.has(key)) golden_.compare(key, tensor.grad());
    }
    for (const auto& [path, module] : networks_) {
      for (const auto& item : module->named_parameters())
        if (is_float)
          golden_.compare("grads/" + name_ + "." + path + "." + item.key(), item.value().grad());
      for (const auto& item : module->named_buffers())
        compare("buffer_after." + path + "." + item.key(), item.value());
    }
  }

 private:
  Golden& golden_;
  const nlohmann::json& config_;
  at::ScalarType type_;
  std::string name_;
  std::map<std::string, Tensor> inputs_;
  std::map<std::string, std::shared_ptr<torch::nn::Module>> networks_;
};

// [B,C,T,h,w] -> [B,T,h*w,C].
Tensor tokens_of_clip(const Tensor& clip) { return clip.permute({0, 2, 3, 4, 1}).flatten(2, 3); }

std::vector<int64_t> widths_of(const std::string& dashed) {
  std::vector<int64_t> widths;
  for (std::size_t at = 0; at < dashed.size();) {
    std::size_t used = 0;
    widths.push_back(std::stoll(dashed.substr(at), &used));
    at += used + 1;
  }
  return widths;
}

losses::LatentRegulariserOptions regulariser_options(const LossCase& loss) {
  losses::LatentRegulariserOptions o;
  o.std = loss.option("std_coeff", 1.0);
  o.cov = loss.option("cov_coeff", 1.0);
  o.temporal = loss.option("sim_coeff_t", 0.0);
  o.inverse_dynamics = loss.option("idm_coeff", 0.0);
  o.margin = loss.option("std_margin", 1.0);
  const auto view = [&](const char* key) {
    return loss.option(key, false) ? losses::LatentView::projected_upstream
                                   : losses::LatentView::direct;
  };
  o.temporal_view = view("sim_t_after_proj");
  o.inverse_dynamics_view = view("idm_after_proj");
  if (loss.option("spatial_as_samples", false)) o.samples = losses::SampleUnit::token;
  if (loss.option("first_t_only", false)) o.frames = losses::SampledFrames::first;
  return o;
}

void check_regulariser(LossCase& loss, losses::LatentRegulariserOptions options,
                       const std::string& projector_path) {
  losses::RegulariserHeads heads;
  if (const auto widths = loss.option("projector", nullptr); !widths.is_null()) {
    const auto net = loss.network(
        projector_path, std::make_shared<nn::Projector>(widths_of(widths.get<std::string>())));
    heads.projector = [net](const Tensor& z) { return net->forward(z, nn::Mode::train); };
  }
  if (const auto sizes = loss.option("idm", nullptr); !sizes.is_null()) {
    const int64_t state = sizes[0], hidden = sizes[1], actions = sizes[2];
    const nn::MlpOptions mlp{.hidden = {hidden, hidden}, .activation = nn::Activation::relu};
    const auto net = loss.network("idm_loss_fn.idm",
                                  std::make_shared<nn::Mlp>(2 * state, mlp, actions, "model"));
    heads.inverse_dynamics = [net](const Tensor& pairs) { return net->forward(pairs); };
  }
  Tensor blocks;
  if (loss.has("actions")) blocks = loss.input("actions").transpose(1, 2).slice(1, 0, -1);
  const auto terms =
      losses::latent_regulariser(tokens_of_clip(loss.input("x")), blocks, options, heads);
  loss.compare_term("cov_loss", terms, "cov");
  loss.compare_term("std_loss", terms, "std");
  Tensor sum;
  for (const auto& term : terms.terms()) sum = sum.defined() ? sum + term.value : term.value;
  loss.compare("unweighted", sum);
  loss.compare("weighted", terms.total());
  if (loss.type() == "VC_IDM_Sim") {
    loss.compare_term("sim_loss_t", terms, "temporal");
    loss.compare_term("idm_loss", terms, "inverse_dynamics");
  }
  loss.finish(terms.total());
}

void check_bcs(Golden& golden, LossCase& loss, int64_t calls, at::ScalarType type) {
  auto options = losses::SigRegOptions::bcs();
  options.projections = loss.option("num_slices", options.projections);
  for (int64_t call = 0; call < calls; ++call) {
    const auto n = std::to_string(call);
    const auto slices = golden.input(loss.name() + ".slices" + n).to(type);
    CHECK(slices.size(1) == options.projections);
    const auto terms = losses::invariance_and_sigreg(loss.input("z1"), loss.input("z2"), slices,
                                                     loss.option("lmbd", 10.0), options);
    loss.compare("call" + n + ".bcs_loss", terms.at("sigreg").value);
    loss.compare("call" + n + ".invariance_loss", terms.at("invariance").value);
    loss.compare("call" + n + ".loss", terms.total());
    if (call + 1 == calls) loss.finish(terms.total());
  }
}

void check_case(Golden& golden, const nlohmann::json& config, at::ScalarType type) {
  LossCase loss(golden, config, type);
  INFO("case " << loss.name());
  const auto kind = loss.type();
  Tensor value;
  if (kind == "HingeStdLoss") {
    value = losses::vicreg_std(loss.input("x").unsqueeze(1), losses::kVarianceEpsilon,
                               loss.option("std_margin", 1.0));
  } else if (kind == "CovarianceLoss") {
    value = losses::vicreg_cov(loss.input("x").unsqueeze(1));
  } else if (kind == "TemporalSimilarityLoss") {
    value = losses::temporal_similarity(loss.input("x").transpose(0, 1));
  } else if (kind == "SquareLossSeq") {
    value = losses::prediction(loss.input("a"), loss.input("b"));
  } else if (kind == "VC_IDM_Sim") {
    return check_regulariser(loss, regulariser_options(loss), "projector");
  } else if (kind == "VC") {
    auto options = regulariser_options(loss);
    options.samples = losses::SampleUnit::token;
    return check_regulariser(loss, options, "proj");
  } else if (kind == "VICRegLoss") {
    const auto terms = losses::vicreg(
        loss.input("z1"), loss.input("z2"),
        {.std = loss.option("std_coeff", 1.0), .cov = loss.option("cov_coeff", 1.0)});
    loss.compare("invariance_loss", terms.at("invariance").value);
    loss.compare("var_loss", terms.at("std").value);
    loss.compare("cov_loss", terms.at("cov").value);
    loss.compare("loss", terms.total());
    return loss.finish(terms.total());
  } else if (kind == "BCS") {
    return check_bcs(golden, loss, config.at("calls"), type);
  } else {
    FAIL("unknown loss " << kind);
  }
  loss.compare("", value);
  loss.finish(value);
}

}  // namespace

TEST_CASE("every loss of EB-JEPA has the reference's value, gradients and statistics",
          "[parity][device]") {
  for_each_golden("eb_jepa/losses", [](Golden& golden) {
    for (const auto type : {at::kFloat, at::kDouble})
      for (const auto& config : golden.config().at("cases")) check_case(golden, config, type);
    CHECK(golden.uncompared("outputs").empty());
    CHECK(golden.uncompared("outputs64").empty());
    CHECK(golden.uncompared("grads").empty());
  });
}

}  // namespace foresight::losses_eb_jepa_parity_test
