// SPDX-License-Identifier: GPL-2.0-only
// Seconds that the parts of the native engine take, summed over threads.
#pragma once

#include <array>
#include <chrono>
#include <string>

namespace tempermd::native {

class TimeAccount {
 public:
  enum Part { MEASURE, FORWARD_EDGES, FORWARD_ATOMS, BACKWARD_ATOMS, BACKWARD_EDGES, N_PARTS };

  // Adds the time until its end to a part.
  class Lap {
   public:
    Lap(TimeAccount &account, Part part) :
        seconds_(account.seconds_[part]), begin_(std::chrono::steady_clock::now())
    {
    }
    ~Lap()
    {
      seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    }
    Lap(const Lap &) = delete;
    Lap &operator=(const Lap &) = delete;

   private:
    double &seconds_;
    std::chrono::steady_clock::time_point begin_;
  };

  void clear() { seconds_.fill(0.0); }
  void add(const TimeAccount &other);
  double total() const;
  // "geometry 4.0 %, edges forward 20.1 %, ...", of all parts
  std::string shares() const;

 private:
  std::array<double, N_PARTS> seconds_{};
};

}    // namespace tempermd::native
