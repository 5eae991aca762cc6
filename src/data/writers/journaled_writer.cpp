// SPDX-License-Identifier: Apache-2.0
#include "journaled_writer.hpp"

#include "foresight/core/log.hpp"

namespace foresight::data {

JournaledWriter::JournaledWriter(std::unique_ptr<EpisodeWriter> writer,
                                 const std::filesystem::path& folder, RowJournal journal)
    : writer_(std::move(writer)), folder_(folder.string()), journal_(std::move(journal)) {
  const int64_t rows =
      journal_.recover(writer_->next_episode(), [this](RecordedRow row) { writer_->append(row); });
  if (rows > 0) {
    const int64_t number = writer_->finish_episode();
    log(LogLevel::warning, folder_ + ": " + std::to_string(rows) +
                               " rows that a recorder left when it was stopped are now episode " +
                               std::to_string(number));
  }
  restart();
}

JournaledWriter::~JournaledWriter() {
  if (!closed_ && rows() == 0) journal_.remove();
}

// Recording goes on without the journal where the disk is full: the episode itself may still fit.
void JournaledWriter::restart() {
  failed_ = false;
  kept_rows_ = 0;
  try {
    journal_.restart(writer_->next_episode());
    keeping_ = true;
  } catch (const Error& error) {
    keeping_ = false;
    log(LogLevel::warning, std::string(error.what()) + "; an unfinished episode will be lost");
  }
}

void JournaledWriter::require_no_failure() const {
  require(!failed_, ErrorCategory::invalid_argument,
          folder_ + ": the last episode could not be finished, " + std::to_string(kept_rows_) +
              " rows of it are in " + journal_.path().string() +
              "; open the folder again to recover them, or discard_episode()");
}

void JournaledWriter::append(const RecordedRow& row) {
  require_no_failure();
  writer_->append(row);
  if (!keeping_) return;
  try {
    journal_.add(row);
    ++kept_rows_;
  } catch (const Error& error) {
    keeping_ = false;
    log(LogLevel::warning,
        std::string(error.what()) + "; of this episode, further rows will be lost if it stops");
  }
}

int64_t JournaledWriter::finish_episode(const std::string& task) {
  require_no_failure();
  const int64_t rows = writer_->rows();
  int64_t number = 0;
  try {
    number = writer_->finish_episode(task);
  } catch (...) {
    if (rows > 0 && writer_->rows() == 0) {  // the writer has forgotten them
      failed_ = kept_rows_ > 0;
      if (!failed_) restart();
    }
    throw;
  }
  restart();
  return number;
}

void JournaledWriter::discard_episode() {
  writer_->discard_episode();
  restart();
}

void JournaledWriter::finish() {
  if (closed_) return;
  writer_->finish();
  if (failed_)
    journal_.close();
  else
    journal_.remove();
  closed_ = true;
}

}  // namespace foresight::data
