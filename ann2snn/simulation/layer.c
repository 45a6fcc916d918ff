/* Time steps of one spiking layer: the synapses of a convolution or linear layer, and integrate-and-fire neurons.

     current(t) = bias + sum over input spikes of count x weight          (or an input current)
     m <- m + (current + residual) + shift;   fired = [m >= v_th];   m <- reset;   count += fired

   Synapses are event-driven: a spike costs one row of weights, a silent input nothing. Images are independent. One
   thread computes an image in a fixed order, so that results depend neither on the number of threads nor on the numbers
   of images and steps in a call. Within an image, one tile of output channels runs through all steps while its weights
   and its part of the membrane are in the cache.

   Memory order: images (steps x images) x pixels x channels.
   Weights: tiles x input channels x taps x channels of a tile.
   The additions in a neuron have the order of those in `IF.step`. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __AVX512BW__
#include <immintrin.h>
#endif

typedef float floats __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint8_t bytes __attribute__((vector_size(16), aligned(1), may_alias));
typedef int16_t shorts __attribute__((vector_size(32), aligned(2), may_alias));
#define LANES 16
#define WIDE 4 /* vectors in the widest tile */

struct layer {
  long steps, images, threads;
  /* synapses; `spikes` and `values` are null for a layer that reads `current` */
  long height, width, channels, out_height, out_width, out_channels;
  long kernel[2], stride[2], padding[2], dilation[2], tile, max_count; /* tile: output channels, a multiple of LANES */
  long groups, is_square; /* groups: 1, or one per channel; is_square: a SQUARE_CONV exists */
  const uint8_t *spikes;
  const float *values, *weights, *bias; /* `values`: inputs other than spikes */
  /* input currents: floats, or spikes in bytes times `amplitude`; a stride per step, 0 for a constant current */
  const float *current, *residual;
  const uint8_t *residual_spikes;
  long current_stride, residual_stride;
  /* neurons; a stride per pixel, 0 for one value per channel; `membrane` is null if only `out_current` is computed */
  const float *v_th, *shift, *amplitude;
  long v_th_stride, shift_stride, amplitude_stride, hard;
  float *membrane;
  int16_t *counts;
  uint8_t *out;
  float *out_current;
  const long *tap_targets; /* set by `run` */
};

/* Mask of the channels first .. first + 63 of a pixel that are not zero. */
static inline uint64_t nonzero_mask(const uint8_t *pixel, long first, long channels) {
  long n = channels - first < 64 ? channels - first : 64;
#ifdef __AVX512BW__
  __m512i all = _mm512_maskz_loadu_epi8(n < 64 ? (1ull << n) - 1 : ~0ull, pixel + first);
  return _mm512_test_epi8_mask(all, all);
#else
  uint64_t mask = 0;
  for (long c = 0; c < n; c++) mask |= (uint64_t)(pixel[first + c] != 0) << c;
  return mask;
#endif
}

#define UNROLL(VARIABLE, N) _Pragma("GCC unroll 32") for (int VARIABLE = 0; VARIABLE < N; VARIABLE++)

/* Adds the spikes of one input row, for a square kernel with stride 1. All taps of a pixel are summed in registers.
   `rows` are the KERNEL rows of sums that this row contributes to. They have KERNEL - 1 more pixels than the row, so
   that no tap needs a bounds check. */
#define SQUARE_CONV(NAME, KERNEL, VECTORS, TERM)                                                                     \
  static void NAME(const struct layer *l, const uint8_t *spikes, const float *weights, float *const *rows) {         \
    enum { ROW = KERNEL * VECTORS, ALL = KERNEL * ROW };                                                             \
    long channels = l->channels;                                                                                     \
    for (long x = 0; x < l->width; x++, spikes += channels) {                                                        \
      long offset = x * VECTORS * LANES, first = 0;                                                                  \
      uint64_t mask = nonzero_mask(spikes, 0, channels);                                                             \
      while (!mask && (first += 64) < channels) mask = nonzero_mask(spikes, first, channels);                        \
      if (!mask) continue;                                                                                           \
      floats sum[ALL];                                                                                               \
      UNROLL(i, ALL) sum[i] = *(floats *)(rows[i / ROW] + offset + i % ROW * LANES);                                 \
      for (;;) {                                                                                                     \
        do {                                                                                                         \
          long c = first + __builtin_ctzll(mask);                                                                    \
          const float *row = weights + c * ALL * LANES;                                                              \
          float count = spikes[c];                                                                                   \
          (void)count;                                                                                               \
          UNROLL(i, ALL) sum[i] += TERM(count, *(floats *)(row + i * LANES));                                        \
        } while (mask &= mask - 1);                                                                                  \
        while (!mask && (first += 64) < channels) mask = nonzero_mask(spikes, first, channels);                      \
        if (!mask) break;                                                                                            \
      }                                                                                                              \
      UNROLL(i, ALL) *(floats *)(rows[i / ROW] + offset + i % ROW * LANES) = sum[i];                                 \
    }                                                                                                                \
  }
#define ONE(COUNT, WEIGHT) WEIGHT
#define TIMES(COUNT, WEIGHT) COUNT *WEIGHT
SQUARE_CONV(conv3x3, 3, 2, ONE)
SQUARE_CONV(conv3x3_narrow, 3, 1, ONE)
SQUARE_CONV(conv1x1, 1, WIDE, ONE)
SQUARE_CONV(conv1x1_narrow, 1, 1, ONE)
SQUARE_CONV(conv3x3_counts, 3, 2, TIMES)
SQUARE_CONV(conv3x3_narrow_counts, 3, 1, TIMES)
SQUARE_CONV(conv1x1_counts, 1, WIDE, TIMES)
SQUARE_CONV(conv1x1_narrow_counts, 1, 1, TIMES)

/* n <= LANES bytes as floats, padded with zeros. */
static inline floats to_floats(const uint8_t *from, long n) {
#ifdef __AVX512BW__
  __m128i loaded = _mm_maskz_loadu_epi8((__mmask16)((1u << n) - 1), from);
  return (floats)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(loaded));
#else
  bytes loaded = {0};
  memcpy(&loaded, from, n);
  return __builtin_convertvector(loaded, floats);
#endif
}

/* Taps [*first, returned value) of a kernel that lie inside the image, for one output position along an axis. */
static inline long taps(const struct layer *l, int axis, long position, long *first) {
  long from = l->padding[axis] - position * l->stride[axis], size = axis ? l->width : l->height, d = l->dilation[axis];
  long end = (size - 1 + from) / d + 1;
  *first = from > 0 ? (from + d - 1) / d : 0;
  return size - 1 + from < 0 ? 0 : end < l->kernel[axis] ? end : l->kernel[axis];
}

/* One row of a depthwise convolution, for the first `count` channels of `input`. Zeros are not skipped. */
static void depthwise(const struct layer *l, long count, const uint8_t *input, const float *weights, long y,
                      float *sums) {
  long channels = l->out_channels, top, bottom = taps(l, 0, y, &top), n[WIDE];
  for (int i = 0; i < WIDE; i++) n[i] = count < i * LANES ? 0 : count < (i + 1) * LANES ? count - i * LANES : LANES;
  input += (y * l->stride[0] - l->padding[0]) * l->width * channels;
  for (long x = 0; x < l->out_width; x++, sums += WIDE * LANES) {
    long left, right = taps(l, 1, x, &left), from_x = x * l->stride[1] - l->padding[1];
    floats sum[WIDE] = {0};
    for (long r = top; r < bottom; r++)
      for (long q = left; q < right; q++) {
        const uint8_t *from = input + (r * l->dilation[0] * l->width + from_x + q * l->dilation[1]) * channels;
        const float *tap = weights + (r * l->kernel[1] + q) * WIDE * LANES;
        UNROLL(i, WIDE) sum[i] += to_floats(from + (n[i] ? i * LANES : 0), n[i]) * *(floats *)(tap + i * LANES);
      }
    UNROLL(i, WIDE) *(floats *)(sums + i * LANES) = sum[i];
  }
}

/* One row of a 1x1 convolution on inputs other than spikes. Zeros are not skipped. */
static void conv1x1_values(const struct layer *l, const float *values, const float *weights, float *sums) {
  for (long x = 0; x < l->width; x++, values += l->channels, sums += WIDE * LANES) {
    floats sum[WIDE] = {0};
    for (long c = 0; c < l->channels; c++)
      UNROLL(i, WIDE) sum[i] += values[c] * *(floats *)(weights + (WIDE * c + i) * LANES);
    UNROLL(i, WIDE) *(floats *)(sums + i * LANES) = sum[i];
  }
}

/* All sums of an image, for any stride, dilation and kernel. `tap_targets` lists the taps of every input row, then of
   every input column: their number, and for each one the tap and the output row or column that it contributes to. */
static void conv_generic(const struct layer *l, const uint8_t *spikes, const float *weights, float *sums) {
  long vectors = l->tile / LANES, row = l->kernel[0] * l->kernel[1] * l->tile;
  const long *rows = l->tap_targets, *columns = rows + l->height * (1 + 2 * l->kernel[0]);
  int32_t list[l->channels];
  for (long y = 0; y < l->height; y++, rows += 1 + 2 * l->kernel[0]) {
    const long *column = columns;
    for (long x = 0; x < l->width; x++, spikes += l->channels, column += 1 + 2 * l->kernel[1]) {
      long n = 0;
      for (long first = 0; first < l->channels; first += 64)
        for (uint64_t mask = nonzero_mask(spikes, first, l->channels); mask; mask &= mask - 1)
          list[n++] = first + __builtin_ctzll(mask);
      if (!n) continue;
      for (long r = 0; r < rows[0]; r++)
        for (long q = 0; q < column[0]; q++) {
          const float *tap = weights + (rows[1 + 2 * r] * l->kernel[1] + column[1 + 2 * q]) * l->tile;
          float *target = sums + (rows[2 + 2 * r] * l->out_width + column[2 + 2 * q]) * l->tile;
          for (long v = 0; v < vectors; v++, tap += LANES, target += LANES) {
            floats sum = *(floats *)target;
            if (l->max_count == 1)
              for (long i = 0; i < n; i++) sum += *(floats *)(tap + list[i] * row);
            else
              for (long i = 0; i < n; i++) sum += (float)spikes[list[i]] * *(floats *)(tap + list[i] * row);
            *(floats *)target = sum;
          }
        }
    }
  }
}

static void list_tap_targets(const struct layer *l, long *targets) {
  for (int axis = 0; axis < 2; axis++)
    for (long position = 0; position < (axis ? l->width : l->height); position++) {
      long n = 0;
      for (long tap = 0; tap < l->kernel[axis]; tap++) {
        long from = position + l->padding[axis] - tap * l->dilation[axis], to = from / l->stride[axis];
        if (from < 0 || from % l->stride[axis] || to >= (axis ? l->out_width : l->out_height)) continue;
        targets[1 + 2 * n] = tap;
        targets[2 + 2 * n++] = to;
      }
      targets[0] = n;
      targets += 1 + 2 * l->kernel[axis];
    }
}

/* Output channels first .. first + n - 1 of one image, at step t. */
struct tile {
  long t, image, first, n;
};

/* One step of one row of neurons. `sums` are those of its synapses, or null. `residual_kind` is 0 for no residual, 1
   for floats, 2 for spikes. */
static inline __attribute__((always_inline)) void if_row(const struct layer *l, struct tile p, long y,
                                                         const float *sums, const int synapses,
                                                         const int residual_kind, const int hard) {
  long channels = l->out_channels, pixel = y * l->out_width;
  long unit = (p.image * l->out_height * l->out_width + pixel) * channels + p.first;
  long all = l->images * l->out_height * l->out_width * channels, end = unit + l->out_width * channels;
  const float *v_th = l->v_th + pixel * l->v_th_stride + p.first, *shift = l->shift + pixel * l->shift_stride + p.first;
  const float *amplitude = l->amplitude + pixel * l->amplitude_stride + p.first;
  const float *bias = synapses ? l->bias + p.first : 0;
  for (; unit < end; unit += channels) {
    float *m = l->membrane + unit;
    const float *current = l->current + p.t * l->current_stride + unit;
    const float *residual = l->residual + p.t * l->residual_stride + unit;
    const uint8_t *residual_spikes = l->residual_spikes + p.t * l->residual_stride + unit;
    int16_t *count = l->counts + unit;
    uint8_t *out = l->out + p.t * all + unit;
    long j = 0;
    for (; j + LANES <= p.n; j += LANES) {
      floats i = *(floats *)((synapses ? sums : current) + j);
      if (synapses) i = i + *(floats *)(bias + j);
      if (residual_kind == 1) i = i + *(floats *)(residual + j);
      if (residual_kind == 2) i = i + *(floats *)(amplitude + j) * to_floats(residual_spikes + j, LANES);
      floats u = *(floats *)(m + j) + i;
      u = u + *(floats *)(shift + j);
      ints fired = u >= *(floats *)(v_th + j), after = hard ? (ints){0} : (ints)(u - *(floats *)(v_th + j));
      *(ints *)(m + j) = (fired & after) | (~fired & (ints)u);
      *(bytes *)(out + j) = __builtin_convertvector(-fired, bytes);
#ifndef NOT_COUNTING /* benchmarks define it to measure the cost of counting */
      *(shorts *)(count + j) -= __builtin_convertvector(fired, shorts);
#endif
    }
    for (; j < p.n; j++) {
      float i = synapses ? sums[j] + bias[j] : current[j];
      if (residual_kind == 1) i = i + residual[j];
      if (residual_kind == 2) i = i + amplitude[j] * (float)residual_spikes[j];
      float u = m[j] + i;
      u = u + shift[j];
      out[j] = u >= v_th[j];
      count[j] += out[j];
      m[j] = out[j] ? (hard ? 0.0f : u - v_th[j]) : u;
    }
    if (synapses) sums += l->tile;
    v_th += l->v_th_stride;
    shift += l->shift_stride;
    amplitude += l->amplitude_stride;
  }
}

static void output_row(const struct layer *l, struct tile p, long y, const float *sums) {
  if (!l->membrane) {
    long pixel = ((p.t * l->images + p.image) * l->out_height + y) * l->out_width;
    for (long x = 0; x < l->out_width; x++)
      for (long j = 0; j < p.n; j++)
        l->out_current[(pixel + x) * l->out_channels + p.first + j] = sums[x * l->tile + j] + l->bias[p.first + j];
    return;
  }
  switch ((sums != 0) * 8 + (l->residual ? 1 : l->residual_spikes ? 2 : 0) * 2 + (l->hard != 0)) {
#define CASE(SYNAPSES, RESIDUAL, HARD)                                                                               \
  case SYNAPSES * 8 + RESIDUAL * 2 + HARD: if_row(l, p, y, sums, SYNAPSES, RESIDUAL, HARD); break;
#define CASES(SYNAPSES, RESIDUAL) CASE(SYNAPSES, RESIDUAL, 0) CASE(SYNAPSES, RESIDUAL, 1)
    CASES(0, 0) CASES(0, 1) CASES(0, 2) CASES(1, 0) CASES(1, 1) CASES(1, 2)
  }
}

typedef void conv_fn(const struct layer *, const uint8_t *spikes, const float *weights, float *const *rows);

static conv_fn *choose_conv(const struct layer *l) {
  static conv_fn *const narrow[2][2] = {{conv1x1_narrow, conv1x1_narrow_counts},
                                        {conv3x3_narrow, conv3x3_narrow_counts}};
  static conv_fn *const wide[2][2] = {{conv1x1, conv1x1_counts}, {conv3x3, conv3x3_counts}};
  return l->spikes && l->is_square ? (l->tile == LANES ? narrow : wide)[l->kernel[0] == 3][l->max_count > 1] : 0;
}

/* All steps of one tile of one image. */
static void image_tile(const struct layer *l, struct tile p, conv_fn *conv, float *sums) {
  long channels = l->groups > 1 ? l->out_channels : l->channels, kernel = l->kernel[0];
  const float *weights = l->weights + p.first * l->channels * kernel * l->kernel[1];
  for (p.t = 0; p.t < l->steps; p.t++) {
    long start = (p.t * l->images + p.image) * l->height * l->width * channels, line = l->width * channels;
    if (conv) {
      /* row a of the sums is complete after row a of the input; a ring buffer holds `kernel` rows */
      long length = (l->width + kernel - 1) * l->tile, before = kernel - 1 - l->padding[0];
      memset(sums, 0, kernel * length * sizeof(float));
      for (long a = 0; a < l->height + kernel - 1; a++) {
        float *rows[3];
        for (long r = 0; r < kernel; r++) rows[r] = sums + (a + r) % kernel * length;
        if (a < l->height) conv(l, l->spikes + start + a * line, weights, rows);
        if (a >= before && a - before < l->out_height) output_row(l, p, a - before, rows[0] + before * l->tile);
        memset(rows[0], 0, length * sizeof(float));
      }
    } else if (l->values || l->groups > 1) {
      for (long y = 0; y < l->out_height; y++) {
        if (l->values) conv1x1_values(l, l->values + start + y * line, weights, sums);
        else depthwise(l, p.n, l->spikes + start + p.first, weights, y, sums);
        output_row(l, p, y, sums);
      }
    } else if (l->spikes) {
      memset(sums, 0, l->out_height * l->out_width * l->tile * sizeof(float));
      conv_generic(l, l->spikes + start, weights, sums);
      for (long y = 0; y < l->out_height; y++) output_row(l, p, y, sums + y * l->out_width * l->tile);
    } else
      for (long y = 0; y < l->out_height; y++) output_row(l, p, y, 0);
  }
}

int run(struct layer *l) {
  long failed = 0, tiles = (l->out_channels + l->tile - 1) / l->tile, size = l->out_width * l->tile;
  conv_fn *conv = choose_conv(l);
  long *tap_targets = 0;
  if (conv) size = l->kernel[0] * (l->width + l->kernel[0] - 1) * l->tile;
  else if (l->spikes && l->groups == 1) {
    size *= l->out_height;
    tap_targets = malloc((l->height * (1 + 2 * l->kernel[0]) + l->width * (1 + 2 * l->kernel[1])) * sizeof(long));
    if (!tap_targets) return 1;
    list_tap_targets(l, tap_targets);
    l->tap_targets = tap_targets;
  }
#pragma omp parallel for schedule(static) num_threads(l->threads) reduction(+ : failed)
  for (long part = 0; part < l->threads; part++) {
    float *sums = malloc(size * sizeof(float));
    if (!sums) {
      failed++;
      continue;
    }
    for (long tile = 0; tile < tiles; tile++)
      for (long image = part * l->images / l->threads; image < (part + 1) * l->images / l->threads; image++) {
        long first = tile * l->tile, n = l->out_channels - first;
        image_tile(l, (struct tile){0, image, first, n < l->tile ? n : l->tile}, conv, sums);
      }
    free(sums);
  }
  free(tap_targets);
  return failed;
}
