// Measures how many floating-point operations one core does per second at best: fused multiply-adds
// in single precision on registers alone. Prints GFLOP/s.
#include <chrono>
#include <cstdio>

// as long as the processor's registers: a longer one has no register for the line of assembler
#if defined(__AVX512F__)
constexpr int n_bytes = 64;
#elif defined(__AVX__)
constexpr int n_bytes = 32;
#else
constexpr int n_bytes = 16;
#endif
typedef float Vector __attribute__((vector_size(n_bytes)));

int main()
{
  constexpr int n_sums = 12;
  constexpr long steps = 100'000'000;
  Vector sums[n_sums] = {}, factor = Vector{} + 0.999f, term = Vector{} + 1e-3f;
  double best = 0.0;
  for (int round = 0; round < 3; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    for (long step = 0; step < steps; ++step) {
#pragma GCC unroll 12
      for (int k = 0; k < n_sums; ++k) sums[k] = sums[k] * factor + term;
      asm volatile("" : "+x"(factor));    // or the loop would be worked out by the compiler
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    const double rate = 2.0 * (n_bytes / sizeof(float)) * n_sums * steps / seconds.count() * 1e-9;
    if (rate > best) best = rate;
  }
  float sum = 0.0f;
  for (const auto &one : sums) sum += one[0];
  std::printf("%.1f\n", sum > 0.0f ? best : 0.0);
}
