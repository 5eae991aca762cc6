// SPDX-License-Identifier: Apache-2.0
// Question: how many training windows a second does each format of recorded data give, and how many
// the package that wrote it? Windows of 4 frames and the 15 actions between them, of 20 rows each
// as stable-worldmodel counts them (its loader and LeRobot's give all 20 actions), batch 32, 64x64
// pixels, random order; one thread each, the same windows in the same order, taken in turns.
//   benchmark_loader <recording>... [lerobot=<python>] [swm=<python>] [rounds=9] [batches=8]
//                    [cache=<folder>]
// Ours straight from the files, once with the system's cache of them dropped before every turn and
// once with it, from decoded frames in memory, and from a file of decoded frames, cold and warm too
// (mapped anew before every turn: the system keeps pages as long as somebody maps them); the others
// like the first two. Of JPEG files that are more than twice as large also decoding at a smaller
// size (data::JpegReduction), and how far its pixels are from the exact ones. Prints one JSON
// object.
#include <ATen/Parallel.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <optional>

#include "foresight/data/loader.hpp"
#include "foresight/data/statistics.hpp"
#include "measurement.hpp"
#include "peer.hpp"

namespace {

using namespace foresight;
namespace fs = std::filesystem;

// The bytes of one file, or of all below a folder: `advice` about them to the system's cache.
void advise(const fs::path& path, int advice) {
  const auto tell = [advice](const fs::path& file) {
    const int descriptor = ::open(file.c_str(), O_RDONLY);
    if (descriptor < 0) return;
    if (advice == POSIX_FADV_WILLNEED) {  // read, so that it is there when the turn begins
      std::array<char, 1 << 16> bytes;
      while (::read(descriptor, bytes.data(), bytes.size()) > 0) continue;
    } else {
      ::posix_fadvise(descriptor, 0, 0, advice);
    }
    ::close(descriptor);
  };
  if (fs::is_regular_file(path)) tell(path);
  if (!fs::is_directory(path)) return;
  for (const auto& entry : fs::recursive_directory_iterator(path))
    if (entry.is_regular_file()) tell(entry.path());
}

// What the system keeps all the same makes the figure for cold files too good, not too bad.
void drop_from_cache(const fs::path& path) { advise(path, POSIX_FADV_DONTNEED); }
void bring_into_cache(const fs::path& path) { advise(path, POSIX_FADV_WILLNEED); }

struct Settings {
  std::map<std::string, std::string> pythons;  // "lerobot", "swm"
  int rounds = 9;
  int64_t batches = 8;  // of a turn
  std::string cache = fs::temp_directory_path() / "foresight_benchmark_frames";
};

constexpr int64_t kBatch = 32, kSide = 64;
const data::WindowOptions kWindows{.frames = 4, .stride = 5, .span = data::WindowSpan::blocks};

// One that makes its batches when they are asked for, on the caller's thread.
class OneThread {
 public:
  OneThread(const data::Dataset& dataset, std::shared_ptr<const data::FrameCache> frames)
      : loader_(std::move(frames), data::WindowIndex(dataset, kWindows),
                data::action_space(dataset, kWindows.stride),
                {.batch = std::min(kBatch, data::WindowIndex(dataset, kWindows).size()),
                 .threads = 0}) {}

  data::LoaderPosition position() const { return loader_.position(); }
  void seek(const data::LoaderPosition& position) { loader_.seek(position); }

  // The next batches; `windows` gets their episodes and starts, `mean` the mean of their pixels.
  double milliseconds(int64_t batches, nlohmann::json& windows, double& mean) {
    std::vector<data::Batch> made;
    const double ms = benchmark::milliseconds([&] {
      while (static_cast<int64_t>(made.size()) < batches)
        if (auto batch = loader_.next()) made.push_back(std::move(*batch));
    });
    windows = nlohmann::json::array();
    mean = 0;
    for (const auto& batch : made) {
      mean += batch.pixels.to(at::kDouble).mean().item<double>() / static_cast<double>(batches);
      const auto* row = batch.windows.const_data_ptr<int64_t>();
      for (int64_t i = 0; i < batch.windows.size(0); ++i)
        windows.push_back({row[3 * i + 1], row[3 * i + 2]});
    }
    return ms;
  }

 private:
  data::Loader loader_;
};

// What a turn took, as windows a second.
nlohmann::json rates(const std::vector<double>& times, double windows) {
  const auto [fastest, worst] = std::minmax_element(times.begin(), times.end());
  return {{"median", 1000 * windows / benchmark::median(times)},
          {"fastest", 1000 * windows / *fastest},
          {"worst", 1000 * windows / *worst}};
}

std::string peer_of(const fs::path& path) {
  if (fs::exists(path / "meta" / "info.json")) return "lerobot";
  return fs::exists(path / "ep_len.npz") || path.extension() == ".h5" ? "swm" : "";
}

bool holds_jpeg(const fs::path& path) {
  if (!fs::is_directory(path)) return false;
  for (const auto& entry : fs::recursive_directory_iterator(path))
    if (entry.path().extension() == ".jpeg" || entry.path().extension() == ".jpg") return true;
  return false;
}

// Grey levels between the frames of an episode in two data sets.
nlohmann::json pixel_difference(const data::Dataset& a, const data::Dataset& b) {
  std::vector<int64_t> rows(static_cast<std::size_t>(std::min<int64_t>(a.length(0), 100)));
  std::iota(rows.begin(), rows.end(), 0);
  const auto difference =
      (a.read_frames(0, rows).to(at::kInt) - b.read_frames(0, rows).to(at::kInt)).abs();
  return {{"mean", difference.to(at::kDouble).mean().item<double>()},
          {"largest", difference.max().item<int64_t>()}};
}

class Comparison {
 public:
  Comparison(const fs::path& path, const Settings& settings, benchmark::Peer* peer)
      : path_(path), settings_(settings) {
    const auto stored = data::open_dataset(path, {.threads = 1})->image_size();
    if (stored == data::ImageSize{kSide, kSide}) peer_ = peer;  // the others do not resize
    data::DatasetOptions options{.video = {.height = kSide, .width = kSide}, .threads = 1};
    if (stored.height > 2 * kSide && stored.width > 2 * kSide && holds_jpeg(path)) {
      options.video.jpeg_reduction = data::JpegReduction::while_decoding;
      reduced_ = data::open_dataset(path, options);
      options.video.jpeg_reduction = data::JpegReduction::after_decoding;
    }
    drop_from_cache(path);
    result_["open_cold_ms"] =
        benchmark::milliseconds([&] { dataset_ = data::open_dataset(path, options); });
    result_["frames"] = dataset_->total_rows();
    result_["episodes"] = dataset_->num_episodes();
    if (reduced_ != nullptr) {
      result_["reduced_difference_of_pixels"] = pixel_difference(*reduced_, *dataset_);
      reduced_files_.emplace(*reduced_, std::make_shared<data::FrameCache>(
                                            reduced_, data::FrameCacheOptions{.budget_mb = 0}));
    }
    fs::remove_all(settings.cache);
    files_.emplace(*dataset_, cached({.budget_mb = 0}));
    std::shared_ptr<const data::FrameCache> memory;
    result_["decode_all_ms"] = benchmark::milliseconds([&] { memory = cached({.threads = 1}); });
    memory_.emplace(*dataset_, std::move(memory));
    mapped_.emplace(*dataset_, cached(in_file_));  // written
    result_["map_ms"] = benchmark::milliseconds([&] { cached(in_file_); });
    if (peer_ != nullptr)
      peer_->ask({{"do", "open"},
                  {"path", path.string()},
                  {"frames", kWindows.frames},
                  {"stride", kWindows.stride},
                  {"batch", kBatch},
                  {"height", kSide},
                  {"width", kSide}});
  }
  ~Comparison() { fs::remove_all(settings_.cache); }

  nlohmann::json measure() {
    const auto ours = [this](OneThread& loader, const fs::path& dropped) {
      return [this, &loader, dropped] {
        if (dropped.empty()) {
          bring_into_cache(path_);
        } else {
          drop_from_cache(dropped);
          loader.seek(loader.position());  // what was announced a turn ago has been dropped
        }
        return loader.milliseconds(settings_.batches, windows_, mean_);
      };
    };
    const auto mapped = [this](bool cold) {
      return [this, cold] {
        const auto position = mapped_->position();
        mapped_.reset();
        auto frames = cached(in_file_);
        if (cold) drop_from_cache(settings_.cache);
        mapped_.emplace(*dataset_, std::move(frames));
        mapped_->seek(position);
        if (!cold) bring_into_cache(settings_.cache);
        return mapped_->milliseconds(settings_.batches, windows_, mean_);
      };
    };
    // "ours_cold" comes before the other's turns: they read its windows.
    std::vector<std::string> names{"ours_memory", "ours_mapped_cold", "ours_mapped_warm",
                                   "ours_warm", "ours_cold"};
    std::vector<std::function<double()>> works{ours(*memory_, {}), mapped(true), mapped(false),
                                               ours(*files_, {}), ours(*files_, path_)};
    if (reduced_files_) {
      names.insert(names.end(), {"ours_reduced_warm", "ours_reduced_cold"});
      works.push_back(ours(*reduced_files_, {}));
      works.push_back(ours(*reduced_files_, path_));
    }
    const auto add_peer = [&](const std::string& name, const char* what, bool cold) {
      names.push_back(name);
      works.push_back([this, what, cold] {
        if (cold)
          drop_from_cache(path_);
        else
          bring_into_cache(path_);
        const auto answer = peer_->ask({{"do", what}, {"windows", windows_}});
        difference_ = std::max(difference_, std::abs(answer.at("mean").get<double>() - mean_));
        return answer.at("ms").get<double>();
      });
    };
    if (peer_ != nullptr) {
      add_peer("peer_cold", "read", true);
      add_peer("peer_warm", "read", false);
      if (peer_of(path_) == "lerobot") add_peer("peer_decoding_only", "decode", true);
    }
    const auto times = benchmark::in_turns(works, settings_.rounds, 1);
    const auto windows = static_cast<double>(windows_.size());
    for (std::size_t i = 0; i < names.size(); ++i)
      result_["windows_per_second"][names[i]] = rates(times[i], windows);
    if (peer_ == nullptr) return result_;
    const double warm = benchmark::median(times[3]), cold = benchmark::median(times[4]);
    for (std::size_t i = 5; i < names.size(); ++i)
      result_["times_as_fast_as"][names[i]] =
          benchmark::median(times[i]) / (names[i] == "peer_warm" ? warm : cold);
    result_["largest_difference_of_mean_pixels"] = difference_;
    return result_;
  }

 private:
  std::shared_ptr<const data::FrameCache> cached(const data::FrameCacheOptions& chosen) const {
    return std::make_shared<data::FrameCache>(dataset_, chosen);
  }

  fs::path path_;
  Settings settings_;
  data::FrameCacheOptions in_file_{.threads = 1, .folder = settings_.cache};
  benchmark::Peer* peer_ = nullptr;
  nlohmann::json result_, windows_;
  double mean_ = 0, difference_ = 0;
  std::shared_ptr<const data::Dataset> dataset_;
  std::shared_ptr<const data::Dataset> reduced_;  // JPEG decoded at a smaller size
  std::optional<OneThread> files_, reduced_files_, memory_, mapped_;
};

}  // namespace

int main(int argc, char** argv) try {
  at::set_num_threads(1);
  Settings settings;
  nlohmann::json report{{"benchmark", "loader"}, {"machine", benchmark::machine()}};
  std::vector<fs::path> recordings;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : argument.substr(equals + 1);
    if (value.empty())
      recordings.emplace_back(argument);
    else if (name == "lerobot" || name == "swm")
      settings.pythons[name] = value;
    else if (name == "rounds")
      settings.rounds = std::stoi(value);
    else if (name == "batches")
      settings.batches = std::stoll(value);
    else if (name == "cache")
      settings.cache = value;
    else
      throw std::runtime_error("unknown argument " + argument);
  }
  if (recordings.empty()) {
    std::cerr << "usage: benchmark_loader <recording>... [lerobot=<python>] [swm=<python>] "
                 "[rounds=9] [batches=8] [cache=<folder>]\n";
    return 2;
  }
  const std::map<std::string, std::string> scripts{{"lerobot", "peer_lerobot.py"},
                                                   {"swm", "peer_swm_loader.py"}};
  report["rounds"] = settings.rounds;
  report["windows_a_turn"] = settings.batches * kBatch;
  std::map<std::string, std::unique_ptr<benchmark::Peer>> peers;
  for (const auto& [name, python] : settings.pythons) {
    peers[name] = std::make_unique<benchmark::Peer>(python, scripts.at(name));
    report["peers"][name] = peers[name]->about;
  }
  for (const auto& recording : recordings) {
    const auto peer = peers.find(peer_of(recording));
    report["recordings"][recording.string()] =
        Comparison(recording, settings, peer == peers.end() ? nullptr : peer->second.get())
            .measure();
  }
  std::cout << report.dump(2) << "\n";
  return 0;
} catch (const std::exception& error) {
  std::cerr << "benchmark_loader: " << error.what() << "\n";
  return 1;
}
