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
  /// `journal` is that of `folder`, in which `writer` writes.
  JournaledWriter(std::unique_ptr<EpisodeWriter> writer, const std::filesystem::path& folder,
                  RowJournal journal);
  /// The rows of an unfinished episode stay in the journal: a program that ends by an exception has
  /// not discarded them.
  ~JournaledWriter() override;

  void append(const RecordedRow& row) override;
  /// After Error(io_failure), e.g. on a full disk, the rows stay in the journal until
  /// discard_episode(): nothing else is taken, and the next writer of the folder recovers them.
  int64_t finish_episode(const std::string& task = {}) override;
  void discard_episode() override;
  int64_t next_episode() const noexcept override { return writer_->next_episode(); }
  int64_t rows() const noexcept override { return failed_ ? kept_rows_ : writer_->rows(); }
  void finish() override;

 private:
  void restart();
  void require_no_failure() const;

  std::unique_ptr<EpisodeWriter> writer_;
  std::string folder_;
  RowJournal journal_;
  int64_t kept_rows_ = 0;  // in the journal
  bool keeping_ = true;    // false after the journal could not be written
  bool failed_ = false;    // the rows in the journal could not be made an episode
  bool closed_ = false;
};

}  // namespace foresight::data
