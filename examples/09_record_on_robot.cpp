// SPDX-License-Identifier: Apache-2.0
// Logging on a robot: two cameras, actions and states, row by row, into a LeRobot data set that
// training (here and in LeRobot's own tools) reads. A thread of its own encodes, so that the
// control loop never waits for a video; every finished episode is on disk before the next one
// begins.
//
//   example_09_record_on_robot [folder]
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <exception>
#include <filesystem>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "foresight/data/episode_writer.hpp"
#include "foresight/data/inspection.hpp"

using namespace foresight;

namespace {

constexpr int64_t kRate = 10, kEpisodes = 3, kRows = 25;

/// Takes rows from the control loop and writes them in a thread of its own.
class Recorder {
 public:
  Recorder(const std::filesystem::path& folder, data::TargetFormat format,
           const data::RecordingOptions& options)
      : writer_(data::open_episode_writer(folder, format, options)), thread_([this] { work(); }) {}
  ~Recorder() { stop(); }

  /// Never waits for the disk or the encoder.
  void append(data::RecordedRow row) {
    push([this, row = std::move(row)] { writer_->append(row); });
  }
  void finish_episode(std::string task) {
    push([this, task = std::move(task)] { writer_->finish_episode(task); });
  }
  void discard_episode() {
    push([this] { writer_->discard_episode(); });
  }
  /// Writes what is left. Throws what went wrong in the thread.
  void finish() {
    push([this] { writer_->finish(); });
    stop();
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void push(std::function<void()> job) {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
    ready_.notify_one();
  }

  void stop() {
    push({});  // the end
    if (thread_.joinable()) thread_.join();
  }

  void work() {
    for (;;) {
      std::unique_lock lock(mutex_);
      ready_.wait(lock, [this] { return !jobs_.empty(); });
      const auto job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      if (!job) return;
      try {
        if (!error_) job();
      } catch (...) {
        error_ = std::current_exception();  // e.g. the disk is full: the robot goes on, we do not
      }
    }
  }

  std::unique_ptr<data::EpisodeWriter> writer_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> jobs_;
  std::exception_ptr error_;
  std::thread thread_;  // last, as it uses the others
};

/// What a robot would see and do.
data::RecordedRow sense_and_act(int64_t episode, int64_t t) {
  const double phase = 0.2 * static_cast<double>(t) + static_cast<double>(episode);
  const auto place = static_cast<int64_t>(32 + 24 * std::sin(phase));
  auto front = at::full({64, 64, 3}, 40, at::kByte), wrist = at::full({64, 96, 3}, 90, at::kByte);
  front.narrow(1, place - 4, 8).narrow(0, 28, 8).fill_(220);
  wrist.narrow(1, place, 8).fill_(10);
  return {.frames = {{"front", front}, {"wrist", wrist}},
          .values = {{"action", at::tensor({std::cos(phase), 0.5 * std::sin(3 * phase)})},
                     {"observation.state", at::tensor({std::sin(phase), phase}, at::kDouble)},
                     {"in_contact", at::full({1}, t % 7 == 0, at::kBool)}}};
}

}  // namespace

int main(int count, char** arguments) {
  const std::filesystem::path folder =
      count > 1 ? arguments[1] : std::filesystem::temp_directory_path() / "foresight_recording";
  std::filesystem::remove_all(folder);

  data::RecordingOptions options;
  options.video.fps = kRate;
  options.cameras = {"front", "wrist"};
  options.features = {{"action", {"vx", "vy"}},
                      {"observation.state", {"x", "y"}, at::kDouble},
                      {"in_contact", {"in_contact"}, at::kBool}};
  options.robot_type = "example";
  auto format = data::TargetFormat::lerobot;
  try {
    Recorder recorder(folder, format, options);
    for (int64_t e = 0; e < kEpisodes; ++e) {
      for (int64_t t = 0; t < kRows; ++t) recorder.append(sense_and_act(e, t));
      recorder.finish_episode(e % 2 == 0 ? "sweep left" : "sweep right");
    }
    recorder.finish();
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::unsupported) throw;
    std::printf("SKIPPED: %s\n", error.what());
    return 0;
  }

  const auto dataset = data::open_dataset(folder, {.camera = "wrist"});
  const auto found = data::inspect(*dataset);
  std::printf("%s: %lld episodes, %lld rows, task of the second: %s\n", folder.c_str(),
              static_cast<long long>(dataset->num_episodes()),
              static_cast<long long>(dataset->total_rows()),
              dataset->read_text("task", 1, 0, 1)[0].c_str());
  for (const auto& warning : found.warnings) std::printf("warning: %s\n", warning.c_str());
  return dataset->num_episodes() == kEpisodes && found.unreadable.empty() ? 0 : 1;
}
