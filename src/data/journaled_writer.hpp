// SPDX-License-Identifier: Apache-2.0
// A writer whose unfinished episode outlives the process. Private to the data folder.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "foresight/data/episode_writer.hpp"
#include "row_journal.hpp"

namespace foresight::data {

/// Keeps every row that `writer` takes in a RowJournal until its episode is finished or discarded.
/// What a killed process left there becomes an episode when this one is made.
class JournaledWriter final : public EpisodeWriter {
 public:
  JournaledWriter(std::unique_ptr<EpisodeWriter> writer, const std::filesystem::path& folder,
                  const RecordingOptions& options);
  /// The rows of an unfinished episode stay in the journal: a program that ends by an exception has
  /// not discarded them.
  ~JournaledWriter() override;

  void append(const RecordedRow& row) override;
  int64_t finish_episode(const std::string& task = {}) override;
  void discard_episode() override;
  int64_t next_episode() const noexcept override { return writer_->next_episode(); }
  int64_t rows() const noexcept override { return writer_->rows(); }
  void finish() override;

 private:
  void restart();

  std::unique_ptr<EpisodeWriter> writer_;
  std::string folder_;
  RowJournal journal_;
  bool keeping_ = true;  // false after the journal could not be written
  bool closed_ = false;
};

}  // namespace foresight::data
