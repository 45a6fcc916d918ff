/* Steps of one spiking layer: the synapses of a convolution or linear layer, driven by events, and integrate-and-fire.

     current(t) = bias + sum over input spikes of count x weight          (or a current that is given)
     m <- m + (current + extra) + shift;   fired = [m >= v];   m <- reset;   count += fired

   Images are independent; each is computed by one thread in a fixed order, so that results depend neither on the number
   of threads nor on how many images or steps come at once. Within an image a tile of output channels goes through all
   steps while its weights and its piece of the membrane are in the cache. What a spike costs is one row of weights; what
   does not spike costs nothing.

   Memory order: images (steps x images) x pixels x channels. Weights: tiles x input channels x taps x channels of a tile.
   The order of the additions in a neuron is that of `IF.step`. */

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
  /* synapses: `spikes` is null where the current is given */
  long height, width, channels, out_height, out_width, out_channels;
  long kernel[2], stride[2], padding[2], dilation[2], tile, most; /* tile: output channels, a multiple of LANES */
  long groups, square; /* 1, or one for each channel; whether `square` has it */
  const uint8_t *spikes;
  const float *values, *weights, *bias; /* `values`: inputs that are no spikes */
  /* given currents: floats, or bytes of some worth; from step to step they move by a stride, or stay (0) */
  const float *current, *extra;
  const uint8_t *extra_spikes;
  long current_stride, extra_stride;
  /* neurons: from pixel to pixel these move by the channels, or stay; `membrane` is null where currents are asked for */
  const float *v_th, *shift, *worth;
  long v_th_stride, shift_stride, worth_stride, hard;
  float *membrane;
  int16_t *counts;
  uint8_t *out;
  float *out_current;
  const long *reach; /* made by `run` */
};

/* Which of the 64 channels from `first` on spiked, in a pixel of so many channels. */
static inline uint64_t spiked(const uint8_t *pixel, long first, long channels) {
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

#define EACH(VARIABLE, N) _Pragma("GCC unroll 32") for (int VARIABLE = 0; VARIABLE < N; VARIABLE++)

/* Spikes of one row, stride 1, a square kernel: all taps of a pixel's spikes are summed in registers. `rows` are the
   KERNEL rows of sums that hear this row; they are KERNEL - 1 longer than it, so that no tap needs a test. */
#define SQUARE(NAME, KERNEL, VECTORS, TERM)                                                                          \
  static void NAME(const struct layer *l, const uint8_t *spikes, const float *weights, float *const *rows) {         \
    enum { ROW = KERNEL * VECTORS, ALL = KERNEL * ROW };                                                             \
    long channels = l->channels;                                                                                     \
    for (long x = 0; x < l->width; x++, spikes += channels) {                                                        \
      long place = x * VECTORS * LANES, first = 0;                                                                   \
      uint64_t mask = spiked(spikes, 0, channels);                                                                   \
      while (!mask && (first += 64) < channels) mask = spiked(spikes, first, channels);                              \
      if (!mask) continue;                                                                                           \
      floats sum[ALL];                                                                                               \
      EACH(i, ALL) sum[i] = *(floats *)(rows[i / ROW] + place + i % ROW * LANES);                                    \
      for (;;) {                                                                                                     \
        do {                                                                                                         \
          long c = first + __builtin_ctzll(mask);                                                                    \
          const float *row = weights + c * ALL * LANES;                                                              \
          float count = spikes[c];                                                                                   \
          (void)count;                                                                                               \
          EACH(i, ALL) sum[i] += TERM(count, *(floats *)(row + i * LANES));                                          \
        } while (mask &= mask - 1);                                                                                  \
        while (!mask && (first += 64) < channels) mask = spiked(spikes, first, channels);                            \
        if (!mask) break;                                                                                            \
      }                                                                                                              \
      EACH(i, ALL) *(floats *)(rows[i / ROW] + place + i % ROW * LANES) = sum[i];                                    \
    }                                                                                                                \
  }
#define ONE(COUNT, WEIGHT) WEIGHT
#define TIMES(COUNT, WEIGHT) COUNT *WEIGHT
SQUARE(three, 3, 2, ONE)
SQUARE(three_narrow, 3, 1, ONE)
SQUARE(one, 1, WIDE, ONE)
SQUARE(one_narrow, 1, 1, ONE)
SQUARE(three_counts, 3, 2, TIMES)
SQUARE(three_narrow_counts, 3, 1, TIMES)
SQUARE(one_counts, 1, WIDE, TIMES)
SQUARE(one_narrow_counts, 1, 1, TIMES)

/* n <= LANES bytes as floats; zeros behind them. */
static inline floats widened(const uint8_t *from, long n) {
#ifdef __AVX512BW__
  __m128i some = _mm_maskz_loadu_epi8((__mmask16)((1u << n) - 1), from);
  return (floats)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(some));
#else
  bytes some = {0};
  memcpy(&some, from, n);
  return __builtin_convertvector(some, floats);
#endif
}

/* The taps [*first, end) of a kernel that stay inside an axis, at one place of the output. */
static inline long taps(const struct layer *l, int axis, long place, long *first) {
  long from = l->padding[axis] - place * l->stride[axis], size = axis ? l->width : l->height, d = l->dilation[axis];
  long end = (size - 1 + from) / d + 1;
  *first = from > 0 ? (from + d - 1) / d : 0;
  return size - 1 + from < 0 ? 0 : end < l->kernel[axis] ? end : l->kernel[axis];
}

/* A row of sums with one filter for each of `some` channels, with which `input` begins: every input is looked at. */
static void depthwise(const struct layer *l, long some, const uint8_t *input, const float *weights, long y,
                      float *sums) {
  long channels = l->out_channels, top, bottom = taps(l, 0, y, &top), n[WIDE];
  for (int i = 0; i < WIDE; i++) n[i] = some < i * LANES ? 0 : some < (i + 1) * LANES ? some - i * LANES : LANES;
  input += (y * l->stride[0] - l->padding[0]) * l->width * channels;
  for (long x = 0; x < l->out_width; x++, sums += WIDE * LANES) {
    long near, far = taps(l, 1, x, &near), from_x = x * l->stride[1] - l->padding[1];
    floats sum[WIDE] = {0};
    for (long r = top; r < bottom; r++)
      for (long q = near; q < far; q++) {
        const uint8_t *from = input + (r * l->dilation[0] * l->width + from_x + q * l->dilation[1]) * channels;
        const float *tap = weights + (r * l->kernel[1] + q) * WIDE * LANES;
        EACH(i, WIDE) sum[i] += widened(from + (n[i] ? i * LANES : 0), n[i]) * *(floats *)(tap + i * LANES);
      }
    EACH(i, WIDE) *(floats *)(sums + i * LANES) = sum[i];
  }
}

/* A row of sums with a kernel of one pixel on inputs that are no spikes: all of them count. */
static void analog(const struct layer *l, const float *values, const float *weights, float *sums) {
  for (long x = 0; x < l->width; x++, values += l->channels, sums += WIDE * LANES) {
    floats sum[WIDE] = {0};
    for (long c = 0; c < l->channels; c++)
      EACH(i, WIDE) sum[i] += values[c] * *(floats *)(weights + (WIDE * c + i) * LANES);
    EACH(i, WIDE) *(floats *)(sums + i * LANES) = sum[i];
  }
}

/* All sums of an image, for any stride, dilation and kernel. `reach` lists for every row, then for every column, how
   many taps it has, and for each the tap and the place in the output. */
static void any(const struct layer *l, const uint8_t *spikes, const float *weights, float *sums) {
  long vectors = l->tile / LANES, row = l->kernel[0] * l->kernel[1] * l->tile;
  const long *rows = l->reach, *columns = rows + l->height * (1 + 2 * l->kernel[0]);
  int32_t list[l->channels];
  for (long y = 0; y < l->height; y++, rows += 1 + 2 * l->kernel[0]) {
    const long *column = columns;
    for (long x = 0; x < l->width; x++, spikes += l->channels, column += 1 + 2 * l->kernel[1]) {
      long n = 0;
      for (long first = 0; first < l->channels; first += 64)
        for (uint64_t mask = spiked(spikes, first, l->channels); mask; mask &= mask - 1)
          list[n++] = first + __builtin_ctzll(mask);
      if (!n) continue;
      for (long r = 0; r < rows[0]; r++)
        for (long q = 0; q < column[0]; q++) {
          const float *tap = weights + (rows[1 + 2 * r] * l->kernel[1] + column[1 + 2 * q]) * l->tile;
          float *place = sums + (rows[2 + 2 * r] * l->out_width + column[2 + 2 * q]) * l->tile;
          for (long v = 0; v < vectors; v++, tap += LANES, place += LANES) {
            floats sum = *(floats *)place;
            if (l->most == 1)
              for (long i = 0; i < n; i++) sum += *(floats *)(tap + list[i] * row);
            else
              for (long i = 0; i < n; i++) sum += (float)spikes[list[i]] * *(floats *)(tap + list[i] * row);
            *(floats *)place = sum;
          }
        }
    }
  }
}

static void list_reach(const struct layer *l, long *reach) {
  for (int axis = 0; axis < 2; axis++)
    for (long place = 0; place < (axis ? l->width : l->height); place++) {
      long n = 0;
      for (long tap = 0; tap < l->kernel[axis]; tap++) {
        long from = place + l->padding[axis] - tap * l->dilation[axis], to = from / l->stride[axis];
        if (from < 0 || from % l->stride[axis] || to >= (axis ? l->out_width : l->out_height)) continue;
        reach[1 + 2 * n] = tap;
        reach[2 + 2 * n++] = to;
      }
      reach[0] = n;
      reach += 1 + 2 * l->kernel[axis];
    }
}

/* Where one step of one image and one tile of its output channels happens. */
struct place {
  long t, image, first, n;
};

/* One row of neurons takes one step; `sums` of its synapses, or null. `extra` 0: none, 1: floats, 2: bytes. */
static inline __attribute__((always_inline)) void fire(const struct layer *l, struct place p, long y, const float *sums,
                                                       const int synapses, const int extra, const int hard) {
  long channels = l->out_channels, pixel = y * l->out_width;
  long unit = (p.image * l->out_height * l->out_width + pixel) * channels + p.first;
  long all = l->images * l->out_height * l->out_width * channels, end = unit + l->out_width * channels;
  const float *v_th = l->v_th + pixel * l->v_th_stride + p.first, *shift = l->shift + pixel * l->shift_stride + p.first;
  const float *worth = l->worth + pixel * l->worth_stride + p.first, *bias = synapses ? l->bias + p.first : 0;
  for (; unit < end; unit += channels, v_th += l->v_th_stride, shift += l->shift_stride, worth += l->worth_stride) {
    float *m = l->membrane + unit;
    const float *given = l->current + p.t * l->current_stride + unit;
    const float *more = l->extra + p.t * l->extra_stride + unit;
    const uint8_t *more_spikes = l->extra_spikes + p.t * l->extra_stride + unit;
    int16_t *count = l->counts + unit;
    uint8_t *out = l->out + p.t * all + unit;
    long j = 0;
    for (; j + LANES <= p.n; j += LANES) {
      floats i = *(floats *)((synapses ? sums : given) + j);
      if (synapses) i = i + *(floats *)(bias + j);
      if (extra == 1) i = i + *(floats *)(more + j);
      if (extra == 2) i = i + *(floats *)(worth + j) * widened(more_spikes + j, LANES);
      floats u = *(floats *)(m + j) + i;
      u = u + *(floats *)(shift + j);
      ints fired = u >= *(floats *)(v_th + j), after = hard ? (ints){0} : (ints)(u - *(floats *)(v_th + j));
      *(ints *)(m + j) = (fired & after) | (~fired & (ints)u);
      *(bytes *)(out + j) = __builtin_convertvector(-fired, bytes);
#ifndef NOT_COUNTING /* to measure what it costs */
      *(shorts *)(count + j) -= __builtin_convertvector(fired, shorts);
#endif
    }
    for (; j < p.n; j++) {
      float i = synapses ? sums[j] + bias[j] : given[j];
      if (extra == 1) i = i + more[j];
      if (extra == 2) i = i + worth[j] * (float)more_spikes[j];
      float u = m[j] + i;
      u = u + shift[j];
      out[j] = u >= v_th[j];
      count[j] += out[j];
      m[j] = out[j] ? (hard ? 0.0f : u - v_th[j]) : u;
    }
    if (synapses) sums += l->tile;
  }
}

static void row(const struct layer *l, struct place p, long y, const float *sums) {
  if (!l->membrane) {
    long pixel = ((p.t * l->images + p.image) * l->out_height + y) * l->out_width;
    for (long x = 0; x < l->out_width; x++)
      for (long j = 0; j < p.n; j++)
        l->out_current[(pixel + x) * l->out_channels + p.first + j] = sums[x * l->tile + j] + l->bias[p.first + j];
    return;
  }
  switch ((sums != 0) * 8 + (l->extra ? 1 : l->extra_spikes ? 2 : 0) * 2 + (l->hard != 0)) {
#define CASE(SYNAPSES, EXTRA, HARD)                                                                                  \
  case SYNAPSES * 8 + EXTRA * 2 + HARD: fire(l, p, y, sums, SYNAPSES, EXTRA, HARD); break;
#define CASES(SYNAPSES, EXTRA) CASE(SYNAPSES, EXTRA, 0) CASE(SYNAPSES, EXTRA, 1)
    CASES(0, 0) CASES(0, 1) CASES(0, 2) CASES(1, 0) CASES(1, 1) CASES(1, 2)
  }
}

typedef void square(const struct layer *, const uint8_t *spikes, const float *weights, float *const *rows);

static square *square_of(const struct layer *l) {
  static square *const narrow[2][2] = {{one_narrow, one_narrow_counts}, {three_narrow, three_narrow_counts}};
  static square *const wide[2][2] = {{one, one_counts}, {three, three_counts}};
  return l->spikes && l->square ? (l->tile == LANES ? narrow : wide)[l->kernel[0] == 3][l->most > 1] : 0;
}

/* The steps of one image and one tile of its output channels. */
static void image_tile(const struct layer *l, struct place p, square *square, float *sums) {
  long channels = l->groups > 1 ? l->out_channels : l->channels, kernel = l->kernel[0];
  const float *weights = l->weights + p.first * l->channels * kernel * l->kernel[1];
  for (p.t = 0; p.t < l->steps; p.t++) {
    long start = (p.t * l->images + p.image) * l->height * l->width * channels, line = l->width * channels;
    if (square) {
      /* row a of the sums is complete when row a of the input has been heard; `kernel` of them are kept, in turn */
      long length = (l->width + kernel - 1) * l->tile, before = kernel - 1 - l->padding[0];
      memset(sums, 0, kernel * length * sizeof(float));
      for (long a = 0; a < l->height + kernel - 1; a++) {
        float *rows[3];
        for (long r = 0; r < kernel; r++) rows[r] = sums + (a + r) % kernel * length;
        if (a < l->height) square(l, l->spikes + start + a * line, weights, rows);
        if (a >= before && a - before < l->out_height) row(l, p, a - before, rows[0] + before * l->tile);
        memset(rows[0], 0, length * sizeof(float));
      }
    } else if (l->values || l->groups > 1) {
      for (long y = 0; y < l->out_height; y++) {
        if (l->values) analog(l, l->values + start + y * line, weights, sums);
        else depthwise(l, p.n, l->spikes + start + p.first, weights, y, sums);
        row(l, p, y, sums);
      }
    } else if (l->spikes) {
      memset(sums, 0, l->out_height * l->out_width * l->tile * sizeof(float));
      any(l, l->spikes + start, weights, sums);
      for (long y = 0; y < l->out_height; y++) row(l, p, y, sums + y * l->out_width * l->tile);
    } else
      for (long y = 0; y < l->out_height; y++) row(l, p, y, 0);
  }
}

int run(struct layer *l) {
  long failed = 0, tiles = (l->out_channels + l->tile - 1) / l->tile, size = l->out_width * l->tile;
  square *square = square_of(l);
  long *reach = 0;
  if (square) size = l->kernel[0] * (l->width + l->kernel[0] - 1) * l->tile;
  else if (l->spikes && l->groups == 1) {
    size *= l->out_height;
    reach = malloc((l->height * (1 + 2 * l->kernel[0]) + l->width * (1 + 2 * l->kernel[1])) * sizeof(long));
    if (!reach) return 1;
    list_reach(l, reach);
    l->reach = reach;
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
        image_tile(l, (struct place){0, image, first, n < l->tile ? n : l->tile}, square, sums);
      }
    free(sums);
  }
  free(reach);
  return failed;
}
