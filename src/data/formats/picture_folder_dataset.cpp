// SPDX-License-Identifier: Apache-2.0
// Videos or pictures alone, without any table: a camera's or a phone's folder, or one of images. A
// video is an episode, and so are the pictures of a folder episode_0012; any other picture is one
// of a single row. Nothing is known but what they show, so that encoders can learn from them, and
// models of what actions do cannot.
#include <algorithm>
#include <map>
#include <system_error>

#include "../parallel.hpp"
#include "../video/covering_frames.hpp"
#include "../video/picture.hpp"
#include "episode_files.hpp"
#include "foresight/core/log.hpp"
#include "formats.hpp"
#include "natural_order.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLens = "pixels";  // there is one camera, and it has no name

bool shows_something(const fs::path& path) {
  return !is_hidden(path) && (is_video_file(path) || is_picture_file(path));
}

// Calls visit(path) for the files here and below that show something, until it returns false.
// Hidden folders (thumbnails, a trash can) are passed over, and those below that may not be read
// (lost+found).
template <class Visit>
void visit_shown(const fs::path& path, Visit&& visit) {
  std::error_code problem;
  const auto check = [&] {
    require(!problem, ErrorCategory::io_failure,
            path.string() + ": its folders cannot be listed: " + problem.message());
  };
  const auto status = fs::status(path, problem);
  check();
  if (!fs::is_directory(status)) {
    if (shows_something(path) && fs::is_regular_file(status)) visit(path);
    return;
  }
  fs::directory_iterator(path, problem);  // skip_permission_denied would call it empty
  check();
  fs::recursive_directory_iterator entry(path, fs::directory_options::skip_permission_denied,
                                         problem);
  for (check(); entry != fs::recursive_directory_iterator(); entry.increment(problem), check()) {
    if (is_hidden(entry->path())) entry.disable_recursion_pending();
    std::error_code no_file;
    if (shows_something(entry->path()) && entry->is_regular_file(no_file) && !visit(entry->path()))
      return;
  }
}

std::vector<fs::path> shown_files(const fs::path& path) {
  std::vector<fs::path> files;
  visit_shown(path, [&](const fs::path& file) {
    files.push_back(file);
    return true;
  });
  std::sort(files.begin(), files.end(), path_before);
  return files;
}

void look_at(Shown& shown, const VideoReaderOptions& options) {
  if (!shown.film) {
    for (const auto& file : shown.files) shown.stamps.push_back(file_stamp(file));
    shown.size = picture_size(shown.files.front());
    shown.length = static_cast<int64_t>(shown.files.size());
    return;
  }
  auto native = options;
  native.height = native.width = 0;
  const VideoReader reader(shown.files.front().string(), native);
  shown.size = {reader.info().height, reader.info().width};
  shown.length = reader.num_frames();
  shown.rate = reader.info().average_rate;
  shown.even = reader.info().constant_rate;
  shown.table = reader.table();
}

class PictureFolderDataset final : public Dataset {
 public:
  PictureFolderDataset(const fs::path& path, const DatasetOptions& options,
                       std::vector<std::string> remarks)
      : name_(path.string()), options_(options), remarks_(std::move(remarks)) {
    find(path);
    leave_out_failing([&](Shown& shown) { look_at(shown, options_.video); });
    choose_size();
    tell_rates();
    frames_ = covering_frames(episodes_, size_, options_.video);
    for (const auto& remark : remarks_) log(LogLevel::warning, remark);
  }

  const std::string& name() const override { return name_; }
  int64_t num_episodes() const override { return static_cast<int64_t>(episodes_.size()); }
  int64_t length(int64_t episode) const override { return shown(episode).length; }
  std::string episode_name(int64_t episode) const override { return shown(episode).name; }
  ImageSize image_size() const override { return size_; }
  double fps() const override { return fps_; }
  const std::vector<std::string>& columns() const override { return none_; }
  const std::vector<std::string>& action_columns() const override { return none_; }
  const std::vector<std::string>& state_columns() const override { return none_; }
  LastAction last_action() const override { return LastAction::artefact; }
  std::vector<std::string> cameras() const override { return {kLens}; }
  std::vector<std::string> remarks() const override { return remarks_; }

  Tensor read_rows(const std::vector<std::string>& columns, int64_t episode, int64_t first,
                   int64_t count) const override {
    check_rows(episode, first, count);
    require(columns.empty(), ErrorCategory::not_found,
            name_ + ": holds pictures alone, no column '" +
                (columns.empty() ? std::string() : columns.front()) + "'");
    return at::empty({count, 0}, at::kDouble);
  }

  Tensor read_frames(int64_t episode, at::IntArrayRef indices) const override {
    const auto rows = length(episode);
    for (const auto index : indices)
      if (index < 0 || index >= rows) check_rows(episode, index, 1);
    return frames_->read(episode, indices);
  }
  void announce_frames(int64_t episode, at::IntArrayRef indices) const override {
    const auto rows = length(episode);
    for (const auto index : indices)
      if (index < 0 || index >= rows) return;
    frames_->announce(episode, indices);
  }
  void identify_frames(Fnv1a& hash) const override {
    identify_decoding(hash);
    frames_->identify(hash);
  }
  void identify_decoding(Fnv1a& hash) const override { add_decoding(hash, options_.video); }
  bool identify_pictures(int64_t episode, PictureEvidence evidence, Fnv1a& hash) const override {
    return frames_->identify_pictures(episode, length(episode), evidence, hash);
  }

 private:
  const Shown& shown(int64_t episode) const {
    require(episode >= 0 && episode < num_episodes(), ErrorCategory::invalid_argument,
            name_ + ": episode " + std::to_string(episode) + " does not exist, accepted: 0.." +
                std::to_string(num_episodes() - 1));
    return episodes_[static_cast<std::size_t>(episode)];
  }

  void find(const fs::path& path) {
    for (const auto* asked : {&options_.actions, &options_.states})
      require(asked->empty(), ErrorCategory::not_found,
              name_ + ": holds pictures alone, no column '" +
                  (asked->empty() ? std::string() : asked->front()) + "'");
    chosen_camera(name_, {kLens}, options_);
    std::map<fs::path, std::size_t> clips;  // folders of pictures that are episodes
    for (const auto& file : shown_files(path)) {
      const auto folder = file.parent_path();
      const bool film = is_video_file(file);
      const bool clip = !film && folder != path && episode_number(folder.filename().string());
      if (clip && clips.contains(folder)) {
        episodes_[clips[folder]].files.push_back(file);
        continue;
      }
      if (clip) clips[folder] = episodes_.size();
      const auto told = fs::is_directory(path) ? (clip ? folder : file).lexically_relative(path)
                                               : file.filename();
      auto& shown = episodes_.emplace_back();
      shown.name = told.string();
      shown.files = {file};
      shown.film = film;
    }
    require(!episodes_.empty(), ErrorCategory::not_found, name_ + ": holds no video or picture");
    tell_tables();
  }

  // A table that is called as a film may be what somebody has recorded with it.
  void tell_tables() {
    fs::path first;
    int64_t tables = 0;
    for (const auto& shown : episodes_)
      for (const char* ending : {".csv", ".jsonl"}) {
        auto table = shown.files.front();
        if (!shown.film || !fs::exists(table.replace_extension(ending))) continue;
        if (++tables == 1) first = table;
      }
    if (tables > 0)
      remarks_.push_back(first.string() + ": is a table beside a film of its name" +
                         (tables > 1 ? ", one of " + std::to_string(tables) : std::string()) +
                         ", and is not read: a film and its table are an episode of a plain "
                         "folder where they are called episode_0000");
  }

  // What `look` throws of an episode ends the opening, or leaves that one out.
  template <class Look>
  void leave_out_failing(Look&& look) {
    std::vector<std::string> problems(episodes_.size());
    parallel_for(num_episodes(), options_.threads, [&](int64_t e) {
      try {
        look(episodes_[static_cast<std::size_t>(e)]);
      } catch (const Error& problem) {
        const bool skippable =
            is_unreadable(problem) || problem.category() == ErrorCategory::unsupported;
        if (skippable && options_.unreadable == Unreadable::skip) {
          problems[static_cast<std::size_t>(e)] = problem.what();
          return;
        }
        if (!skippable || num_episodes() == 1) throw;
        throw Error(problem.category(),
                    std::string(problem.what()) +
                        "; DatasetOptions.unreadable = skip (--reading.unreadable skip) leaves "
                        "such files out");
      }
    });
    std::vector<Shown> good;
    std::string bad;
    for (std::size_t e = 0; e < episodes_.size(); ++e) {
      if (problems[e].empty())
        good.push_back(std::move(episodes_[e]));
      else
        bad += "\n  " + problems[e];
    }
    require(!good.empty(), ErrorCategory::bad_file,
            name_ + ": none of its " + std::to_string(problems.size()) +
                " files can be used, the first: " + problems.front());
    if (!bad.empty())
      remarks_.push_back(name_ + ": " + std::to_string(problems.size() - good.size()) +
                         " file(s) cannot be used and are left out:" + bad);
    episodes_ = std::move(good);
  }

  std::map<std::pair<int64_t, int64_t>, int64_t> frames_by_size() const {
    std::map<std::pair<int64_t, int64_t>, int64_t> frames;
    for (const auto& shown : episodes_)
      frames[{shown.size.height, shown.size.width}] += shown.length;
    return frames;
  }

  // That of the most frames; of equals the smaller.
  void choose_size() {
    const auto frames = frames_by_size();
    const auto commonest =
        std::max_element(frames.begin(), frames.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    size_ = {options_.video.height > 0 ? options_.video.height : commonest->first.first,
             options_.video.width > 0 ? options_.video.width : commonest->first.second};
    leave_out_failing(
        [&](const Shown& shown) { covering(shown.files.front().string(), shown.size, size_); });
    if (const auto sizes = frames_by_size().size(); sizes > 1)
      remarks_.push_back("pictures of " + std::to_string(sizes) + " sizes are scaled to cover " +
                         std::to_string(size_.width) + "x" + std::to_string(size_.height) +
                         " and cut about the centre");
  }

  void tell_rates() {
    fps_ = options_.fps;
    double slowest = 0, fastest = 0;
    int64_t uneven = 0;
    for (const auto& shown : episodes_) {
      if (!shown.even) ++uneven;
      if (shown.rate <= 0) continue;
      if (fps_ <= 0) fps_ = shown.rate;
      slowest = slowest > 0 ? std::min(slowest, shown.rate) : shown.rate;
      fastest = std::max(fastest, shown.rate);
    }
    if (fastest > slowest * (1 + kRateTolerance))
      remarks_.push_back("videos run at " + std::to_string(slowest) + " to " +
                         std::to_string(fastest) +
                         " frames per second: a window covers different times in them");
    if (uneven > 0)
      remarks_.push_back(std::to_string(uneven) +
                         " video(s) have frames that are not equally spaced in time");
  }

  std::string name_;
  DatasetOptions options_;
  std::vector<std::string> remarks_;
  std::vector<Shown> episodes_;
  std::vector<std::string> none_;
  ImageSize size_;
  double fps_ = 0;
  std::shared_ptr<const FrameSource> frames_;
};

}  // namespace

fs::path any_picture(const fs::path& path) {
  fs::path any;
  visit_shown(path, [&](const fs::path& file) {
    any = file;
    return false;
  });
  return any;
}

OpenedDataset open_pictures(const fs::path& path, const DatasetOptions& options,
                            std::vector<std::string> remarks) {
  return std::make_shared<PictureFolderDataset>(path, options, std::move(remarks));
}

}  // namespace foresight::data
