// SPDX-License-Identifier: Apache-2.0
// Which films of a recording are there, and what opening them tells.
#include <algorithm>
#include <iterator>
#include <map>

#include "../parallel.hpp"
#include "video_frames.hpp"

namespace foresight::data {
namespace {

// Where none is left, the first tells why.
void require_some_film(const Recording& recording, const std::vector<EpisodeClip>& clips) {
  const bool any =
      std::any_of(clips.begin(), clips.end(), [](const auto& clip) { return !clip.file.empty(); });
  if (any || recording.unreadable.empty()) return;
  throw Error(ErrorCategory::bad_file, recording.name +
                                           ": none of its films can be read, the first: " +
                                           recording.unreadable.begin()->second);
}

}  // namespace

void require_files(Recording& recording, std::vector<EpisodeClip>& clips, Unreadable unreadable) {
  std::map<std::filesystem::path, bool> there;
  for (std::size_t e = 0; e < clips.size(); ++e) {
    auto& file = clips[e].file;
    if (!there.contains(file)) there[file] = std::filesystem::exists(file);
    if (there[file]) continue;
    const auto problem = file.string() + ": no such file, but " + recording.name + " refers to it";
    require(unreadable == Unreadable::skip, ErrorCategory::not_found, problem);
    recording.unreadable.emplace(static_cast<int64_t>(e), problem);
    file.clear();
  }
  require_some_film(recording, clips);
}

void open_films(Recording& recording, std::vector<EpisodeClip>& clips,
                const DatasetOptions& options,
                const std::function<void(std::size_t, const VideoReader&)>& check) {
  std::vector<std::string> problems(clips.size()), remarks(clips.size());
  std::vector<double> rates(clips.size());
  parallel_for(std::ssize(clips), options.threads, [&](int64_t episode) {
    const auto e = static_cast<std::size_t>(episode);
    if (clips[e].file.empty()) return;
    try {
      const VideoReader film(clips[e].file.string(), options.video);
      check(e, film);
      clips[e].table = film.table();
      rates[e] = film.info().average_rate;
      remarks[e] = uneven_frames(film);
    } catch (const Error& problem) {
      if (options.unreadable == Unreadable::fail || !is_unreadable(problem)) throw;
      problems[e] = problem.what();
    }
  });
  for (std::size_t e = 0; e < clips.size(); ++e) {
    if (!problems[e].empty()) {
      recording.unreadable.emplace(static_cast<int64_t>(e), problems[e]);
      clips[e].file.clear();
    }
    if (!remarks[e].empty()) recording.remarks.push_back(remarks[e]);
    if (recording.fps <= 0) recording.fps = rates[e];
  }
  require_some_film(recording, clips);
}

std::string uneven_frames(const VideoReader& film) {
  if (film.info().constant_rate) return {};
  return film.path() + ": frames are not equally spaced in time; rows are matched by frame number";
}

}  // namespace foresight::data
