// SPDX-License-Identifier: GPL-2.0-only
// The inner loops of the native engine. This file is compiled once for each kind of processor, into
// a namespace of its own; it uses no library, so that nothing compiled for a newer processor can
// replace a function that an older one runs.
#include "native_kernels.h"

#ifndef TEMPERMD_ISA
#error "TEMPERMD_ISA names the kind of processor"
#endif

#define TEMPERMD_INLINE inline __attribute__((always_inline))

namespace tempermd::native::TEMPERMD_ISA {

namespace {

#if defined(__AVX512F__)
constexpr int kWide = 64, kRows = 12;
#elif defined(__AVX2__)
constexpr int kWide = 32, kRows = 4;
#else
constexpr int kWide = 16, kRows = 4;
#endif
constexpr int kNarrow = kWide < kPad ? kWide : kPad;    // a row's last vector may be one of these

template <typename T, int BYTES> struct VectorOf {
  typedef T type __attribute__((vector_size(BYTES)));
};
template <typename T, int BYTES> using Vector = typename VectorOf<T, BYTES>::type;

template <typename V, typename T> TEMPERMD_INLINE V load(const T *from)
{
  V vector;
  __builtin_memcpy(&vector, from, sizeof(V));
  return vector;
}

template <typename V, typename T> TEMPERMD_INLINE void store(T *to, const V &vector)
{
  __builtin_memcpy(to, &vector, sizeof(V));
}

// Calls tile(V{}, integer N, first channel) until all channels are done: N vectors of type V at once.
template <int N> struct Count {
  static constexpr int value = N;
};

template <typename T, typename Tile> TEMPERMD_INLINE void for_tiles(int channels, Tile tile)
{
  constexpr int wide = kWide / static_cast<int>(sizeof(T));
  constexpr int narrow = kNarrow / static_cast<int>(sizeof(T));
  int c = 0;
  for (; c + 2 * wide <= channels; c += 2 * wide) tile(Vector<T, kWide>{}, Count<2>{}, c);
  for (; c + wide <= channels; c += wide) tile(Vector<T, kWide>{}, Count<1>{}, c);
  if constexpr (narrow < wide)
    for (; c + narrow <= channels; c += narrow) tile(Vector<T, kNarrow>{}, Count<1>{}, c);
}

// ---- the tensor product, summed over edges ----

template <typename V, int N, int L1, int L2, int L3, typename T>
TEMPERMD_INLINE void forward_tile(const Path &path, const Edges<T> &edges, int c, T *sums)
{
  constexpr int D1 = 2 * L1 + 1, D3 = 2 * L3 + 1, lanes = sizeof(V) / sizeof(T);
  V total[D3][N];
  T *message = sums + path.message + c;
  for (int k = 0; k < D3; ++k)
    for (int n = 0; n < N; ++n) total[k][n] = load<V>(message + k * path.channels + n * lanes);
  for (int e = 0; e < edges.count; ++e) {
    const T *knot = edges.radial[e] + path.weight + c, *b = edges.blend + 8 * e;
    const T *x = edges.rows[e] + path.source + c, *pair = edges.pairs + e * edges.n_pairs + path.pairs;
    V weight[N];
    for (int n = 0; n < N; ++n) {
      const T *p = knot + n * lanes;
      weight[n] = b[0] * load<V>(p) + b[1] * load<V>(p + edges.n_weights) +
                  b[2] * load<V>(p + 2 * edges.n_weights) + b[3] * load<V>(p + 3 * edges.n_weights);
    }
    int number = 0;
#pragma GCC unroll 8
    for (int i = 0; i < D1; ++i) {
      V weighted[N];
      for (int n = 0; n < N; ++n) weighted[n] = weight[n] * load<V>(x + i * path.channels + n * lanes);
#pragma GCC unroll 8
      for (int k = 0; k < D3; ++k) {
        if (!pair_couples(L1, i, L2, L3, k)) continue;
        for (int n = 0; n < N; ++n) total[k][n] += pair[number] * weighted[n];
        ++number;
      }
    }
  }
  for (int k = 0; k < D3; ++k)
    for (int n = 0; n < N; ++n) store(message + k * path.channels + n * lanes, total[k][n]);
}

template <typename V, int N, int L1, int L2, int L3, typename T>
TEMPERMD_INLINE void backward_tile(const Path &path, const Edges<T> &edges,
                                   const EdgeGradients<T> &found, int c)
{
  constexpr int D1 = 2 * L1 + 1, D2 = 2 * L2 + 1, D3 = 2 * L3 + 1, lanes = sizeof(V) / sizeof(T);
  const T *triples = found.triples + path.triples;
  V x[D1][N], d_x[D1][N];
  T *d_source = found.d_source + path.source + c;
  for (int i = 0; i < D1; ++i)
    for (int n = 0; n < N; ++n) {
      x[i][n] = load<V>(found.source + path.source + c + i * path.channels + n * lanes);
      d_x[i][n] = load<V>(d_source + i * path.channels + n * lanes);
    }
  for (int e = 0; e < edges.count; ++e) {
    const T *knot = edges.radial[e] + path.weight + c, *b = edges.blend + 8 * e;
    const T *d = edges.rows[e] + path.message + c, *pair = edges.pairs + e * edges.n_pairs + path.pairs;
    V weight[N], slope[N], d_sum[D3][N];
    for (int n = 0; n < N; ++n) {
      const T *p = knot + n * lanes;
      const V one = load<V>(p), two = load<V>(p + edges.n_weights),
              three = load<V>(p + 2 * edges.n_weights), four = load<V>(p + 3 * edges.n_weights);
      weight[n] = b[0] * one + b[1] * two + b[2] * three + b[3] * four;
      slope[n] = b[4] * one + b[5] * two + b[6] * three + b[7] * four;
      for (int k = 0; k < D3; ++k) d_sum[k][n] = load<V>(d + k * path.channels + n * lanes);
    }
    V d_harmonic[D2] = {}, overlap[N] = {};
    int number = 0, triple = 0;
#pragma GCC unroll 8
    for (int i = 0; i < D1; ++i) {
      V gradient[N] = {}, weighted[N];
      for (int n = 0; n < N; ++n) weighted[n] = weight[n] * x[i][n];
#pragma GCC unroll 8
      for (int k = 0; k < D3; ++k) {
        if (!pair_couples(L1, i, L2, L3, k)) continue;
        V product = weighted[0] * d_sum[k][0];
        for (int n = 1; n < N; ++n) product += weighted[n] * d_sum[k][n];
        for (int n = 0; n < N; ++n) gradient[n] += pair[number] * d_sum[k][n];
        ++number;
#pragma GCC unroll 8
        for (int j = 0; j < D2; ++j) {
          if (!couples(L1, i, L2, j, L3, k)) continue;
          if constexpr (L2 > 0) d_harmonic[j] += triples[triple] * product;
          ++triple;
        }
      }
      for (int n = 0; n < N; ++n) {
        d_x[i][n] += weight[n] * gradient[n];
        overlap[n] += gradient[n] * x[i][n];
      }
    }
    V d_distance = slope[0] * overlap[0];
    for (int n = 1; n < N; ++n) d_distance += slope[n] * overlap[n];
    T *sum = found.d_distance + e * kLanes<T>;
    store(sum, load<V>(sum) + d_distance);
    if constexpr (L2 > 0)
      for (int j = 0; j < D2; ++j) {
        sum = found.d_harmonics + (e * found.n_harmonics + path.harmonic + j) * kLanes<T>;
        store(sum, load<V>(sum) + d_harmonic[j]);
      }
  }
  for (int i = 0; i < D1; ++i)
    for (int n = 0; n < N; ++n) store(d_source + i * path.channels + n * lanes, d_x[i][n]);
}

template <int L1, int L2, int L3, typename T>
void forward(const Path &path, const Edges<T> &edges, T *sums)
{
  for_tiles<T>(path.channels, [&]<typename V, int N>(V, Count<N>, int c) {
    forward_tile<V, N, L1, L2, L3>(path, edges, c, sums);
  });
}

template <int L1, int L2, int L3, typename T>
void backward(const Path &path, const Edges<T> &edges, const EdgeGradients<T> &found)
{
  for_tiles<T>(path.channels, [&]<typename V, int N>(V, Count<N>, int c) {
    backward_tile<V, N, L1, L2, L3>(path, edges, found, c);
  });
}

// Finds the instance for three l that are known at run time only: call(L1, L2, L3).
template <int L1 = 0, int L2 = 0, int L3 = 0, typename Call>
void with_l(const Path &path, Call call)
{
  if constexpr (L1 <= kMaxL) {
    constexpr bool triangle = L3 <= L1 + L2 && L1 <= L2 + L3 && L2 <= L1 + L3;
    if constexpr (triangle)
      if (path.l_source == L1 && path.l_harmonic == L2 && path.l_message == L3)
        return call(Count<L1>{}, Count<L2>{}, Count<L3>{});
    constexpr bool last3 = L3 == kMaxL, last2 = last3 && L2 == kMaxL;
    with_l<L1 + last2, last2 ? 0 : L2 + last3, last3 ? 0 : L3 + 1>(path, call);
  }
}

template <typename T> Forward<T> forward_of(const Path &path)
{
  Forward<T> found = nullptr;
  with_l(path, [&]<int L1, int L2, int L3>(Count<L1>, Count<L2>, Count<L3>) {
    found = forward<L1, L2, L3, T>;
  });
  return found;
}

template <typename T> Backward<T> backward_of(const Path &path)
{
  Backward<T> found = nullptr;
  with_l(path, [&]<int L1, int L2, int L3>(Count<L1>, Count<L2>, Count<L3>) {
    found = backward<L1, L2, L3, T>;
  });
  return found;
}

// ---- products of rows with a small matrix ----

template <typename V, int N, int ROWS, typename T>
TEMPERMD_INLINE void multiply_tile(const SmallProduct<T> &task, int row, int c)
{
  constexpr int lanes = sizeof(V) / sizeof(T);
  const T *const *x = task.x + row;
  T *const *y = task.y + row;
  V sum[ROWS][N];
#pragma GCC unroll 12
  for (int r = 0; r < ROWS; ++r)
    for (int n = 0; n < N; ++n) sum[r][n] = task.add ? load<V>(y[r] + c + n * lanes) : V{};
  const T *matrix = task.matrix + c;
  for (int d = 0; d < task.depth; ++d, matrix += task.columns) {
    V column[N];
    for (int n = 0; n < N; ++n) column[n] = load<V>(matrix + n * lanes);
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; ++r)
      for (int n = 0; n < N; ++n) sum[r][n] += x[r][d] * column[n];
  }
#pragma GCC unroll 12
  for (int r = 0; r < ROWS; ++r)
    for (int n = 0; n < N; ++n) store(y[r] + c + n * lanes, sum[r][n]);
}

template <typename T> void multiply(const SmallProduct<T> &task)
{
  for_tiles<T>(task.columns, [&]<typename V, int N>(V, Count<N>, int c) {
    int row = 0;
    for (; row + kRows <= task.n_rows; row += kRows) multiply_tile<V, N, kRows>(task, row, c);
    for (; row + 4 <= task.n_rows; row += 4) multiply_tile<V, N, 4>(task, row, c);
    for (; row < task.n_rows; ++row) multiply_tile<V, N, 1>(task, row, c);
  });
}

// ---- nonlinearities ----

template <typename T> struct Exponential;

// Polynomials of the exponential function between -ln(2)/2 and ln(2)/2 (Taylor), and the bits of a
// power of two.
template <> struct Exponential<float> {
  using Integer = int32_t;
  static constexpr int degree = 7, mantissa = 23, bias = 127;
  static constexpr float low = -87.0f, high = 88.0f;
};
template <> struct Exponential<double> {
  using Integer = int64_t;
  static constexpr int degree = 13, mantissa = 52, bias = 1023;
  static constexpr double low = -708.0, high = 709.0;
};

constexpr double kLn2High = 0.693359375, kLn2Low = -2.12194440054690583e-4;    // Cody and Waite
constexpr double kLn2HighDouble = 6.93145751953125e-1, kLn2LowDouble = 1.42860682030941723212e-6;

constexpr double inverse_factorial(int n)
{
  double value = 1.0;
  for (int k = 2; k <= n; ++k) value /= k;
  return value;
}

template <typename T, typename V> TEMPERMD_INLINE V exponential(V x)
{
  using E = Exponential<T>;
  constexpr bool is_float = sizeof(T) == 4;
  typedef typename E::Integer Bits __attribute__((vector_size(sizeof(V))));
  x = x < E::low ? V{} + E::low : x;    // comparisons keep a NaN
  x = x > E::high ? V{} + E::high : x;
  // adding and subtracting 1.5 * 2^mantissa rounds to an integer, which the low bits then hold
  constexpr T magic = static_cast<T>(1.5) * static_cast<T>(int64_t(1) << E::mantissa);
  const V shifted = x * static_cast<T>(1.44269504088896340736) + magic;
  const V n = shifted - magic;
  const V rest = (x - n * static_cast<T>(is_float ? kLn2High : kLn2HighDouble)) -
                 n * static_cast<T>(is_float ? kLn2Low : kLn2LowDouble);
  V sum = V{} + static_cast<T>(inverse_factorial(E::degree));
#pragma GCC unroll 16
  for (int k = E::degree - 1; k >= 0; --k) sum = sum * rest + static_cast<T>(inverse_factorial(k));
  Bits bits;
  __builtin_memcpy(&bits, &shifted, sizeof(V));
  T magic_value = magic;
  typename E::Integer magic_bits;
  __builtin_memcpy(&magic_bits, &magic_value, sizeof(T));
  bits = (bits - magic_bits + E::bias) << E::mantissa;
  V power;
  __builtin_memcpy(&power, &bits, sizeof(V));
  return sum * power;
}

// ln(1 + exp(x)), for the few models that have it
template <typename T, typename V> TEMPERMD_INLINE V softplus(V x)
{
  V value = {};
  for (unsigned k = 0; k < sizeof(V) / sizeof(T); ++k) {
    const T positive = x[k] > 0 ? x[k] : T(0);
    const T tail = x[k] > 0 ? -x[k] : x[k];
    value[k] = positive + static_cast<T>(__builtin_log1p(__builtin_exp(tail)));
  }
  return value;
}

template <typename T>
void activate(Activation kind, T factor, int n, const T *x, T *value, T *slope)
{
  for_tiles<T>(n, [&]<typename V, int N>(V, Count<N>, int first) {
    for (int part = 0; part < N; ++part) {
      const int c = first + part * static_cast<int>(sizeof(V) / sizeof(T));
      const V one = V{} + T(1), in = load<V>(x + c);
      V out, d_out;
      if (kind == Activation::silu) {
        const V sigmoid = one / (one + exponential<T>(-in));
        out = in * sigmoid;
        d_out = sigmoid * (one + in * (one - sigmoid));
      } else if (kind == Activation::tanh) {
        out = T(2) / (one + exponential<T>(T(-2) * in)) - one;
        d_out = one - out * out;
      } else if (kind == Activation::abs) {
        out = in < 0 ? -in : in;
        d_out = in < 0 ? -one : (in > 0 ? one : V{});
      } else {
        out = softplus<T>(in) - static_cast<T>(0.6931471805599453);
        d_out = one / (one + exponential<T>(-in));
      }
      store(value + c, factor * out);
      if (slope) store(slope + c, factor * d_out);
    }
  });
}

template <typename T> void add_lanes(int n, const T *rows, T *sums)
{
  constexpr int lanes = kWide / static_cast<int>(sizeof(T));
  for (int k = 0; k < n; ++k, rows += kLanes<T>) {
    const auto vector = load<Vector<T, kWide>>(rows);    // the other lanes are never written
    T sum = 0;
    for (int lane = 0; lane < lanes; ++lane) sum += vector[lane];
    sums[k] += sum;
  }
}

template <typename T>
constexpr Kernels<T> kTable{forward_of<T>, backward_of<T>, multiply<T>, activate<T>, add_lanes<T>};

}    // namespace

const Kernels<float> &floats() { return kTable<float>; }
const Kernels<double> &doubles() { return kTable<double>; }

}    // namespace tempermd::native::TEMPERMD_ISA
