// Normalisers of PT 2026 over rows (arXiv 2604.25409; pt-spec, label and topic potentials):
//   labels  x = F phi(z) / max(sum phi(z), epsilon)            phi: z^2, |z|, exp z
//   topics  h = F phi(s y) / max(sum phi(s y), epsilon)        phi: y^2, max(y, 0), exp y
// and with a mean over beliefs, mean = sum dx x / F where the sum is free (0 where epsilon bounds it):
//   labels  dz = keep dz + F phi'(z) / max(sum, epsilon) (dx - mean)
//   topics  dy = s F phi'(s y) / max(sum, epsilon) (dh - mean)
// exp is taken relative to the row's maximum, and its sum is never bounded.
//
// Shapes: z, x, y, h and their gradients (rows, width) f32; sums (rows) f32, relative to the maximum for exp.
// `d_scores` of topics holds the scores y before and dy after: squares do not tell a sign.
// Grid: ceil(rows / 8) blocks of 256 threads. A warp owns a row; no atomics, one order of sums.
#include "rows.cuh"

static const int SQUARE = 0, ABS = 1, EXP = 2;

DEVICE float exp_of(float x) { return exp2_fast(1.44269504088896341f * x); }

template <int P, bool TOPICS> DEVICE float potential(float y, float most) {
    if (P == SQUARE) return y * y;
    if (P == ABS) return TOPICS ? fmaxf(y, 0.f) : fabsf(y);
    return exp_of(y - most);
}

template <int P, bool TOPICS>
DEVICE void forward(const float *y, u64 rows, u32 width, float score, float factor, float epsilon, float *x,
                    float *sums) {
    u64 row = row_of_warp();
    if (row >= rows) return;
    y += row * width;
    x += row * width;
    float most = P == EXP ? row_max(width, [&](u32 at) { return score * y[at]; }) : 0;
    float sum = row_sum(width, [&](u32 at) { return potential<P, TOPICS>(score * y[at], most); });
    float inverse = factor / (P == EXP ? sum : fmaxf(sum, epsilon));
    row_each(width, [&](u32 at) { x[at] = potential<P, TOPICS>(score * y[at], most) * inverse; });
    if (threadIdx.x % 32 == 0) sums[row] = sum;
}

template <int P> DEVICE float mean_of(const float *d, const float *x, u32 width, float sum, float factor, float epsilon) {
    float mean = row_sum(width, [&](u32 at) { return d[at] * x[at]; }) / factor;
    return P == EXP || sum > epsilon ? mean : 0;
}

template <int P>
DEVICE void labels_backward(const float *z, const float *x, const float *sums, const float *d_x, u64 rows,
                            u32 width, float factor, float epsilon, float keep, float *d_z) {
    u64 row = row_of_warp();
    if (row >= rows) return;
    u64 first = row * width;
    float sum = sums[row], mean = mean_of<P>(d_x + first, x + first, width, sum, factor, epsilon);
    float inverse = factor / fmaxf(sum, epsilon);
    row_each(width, [&](u32 at) {
        float score = z[first + at], slope;
        if (P == SQUARE) slope = 2 * score * inverse;
        else if (P == ABS) slope = score == 0 ? 0 : copysignf(inverse, score);
        else slope = x[first + at];
        d_z[first + at] = keep * d_z[first + at] + slope * (d_x[first + at] - mean);
    });
}

template <int P>
DEVICE void topics_backward(const float *h, const float *sums, const float *d_h, u64 rows, u32 width, float score,
                            float factor, float epsilon, float *d_scores) {
    u64 row = row_of_warp();
    if (row >= rows) return;
    u64 first = row * width;
    float sum = sums[row], mean = mean_of<P>(d_h + first, h + first, width, sum, factor, epsilon);
    float inverse = score * factor / fmaxf(sum, epsilon);
    row_each(width, [&](u32 at) {
        float belief = h[first + at], slope;
        if (P == SQUARE) slope = 2 * score * d_scores[first + at] * inverse;
        else if (P == ABS) slope = belief == 0 ? 0 : inverse;
        else slope = score * belief;
        d_scores[first + at] = slope * (d_h[first + at] - mean);
    });
}

#define BELIEFS(NAME, P)                                                                                          \
    KERNEL labels_forward_##NAME(const float *z, u64 rows, u32 width, float factor, float epsilon, float *x,      \
                                 float *sums) {                                                                   \
        forward<P, false>(z, rows, width, 1, factor, epsilon, x, sums);                                           \
    }                                                                                                             \
    KERNEL labels_backward_##NAME(const float *z, const float *x, const float *sums, const float *d_x, u64 rows,  \
                                  u32 width, float factor, float epsilon, float keep, float *d_z) {               \
        labels_backward<P>(z, x, sums, d_x, rows, width, factor, epsilon, keep, d_z);                             \
    }                                                                                                             \
    KERNEL topics_forward_##NAME(const float *y, u64 rows, u32 width, float score, float factor, float epsilon,   \
                                 float *h, float *sums) {                                                         \
        forward<P, true>(y, rows, width, score, factor, epsilon, h, sums);                                        \
    }                                                                                                             \
    KERNEL topics_backward_##NAME(const float *h, const float *sums, const float *d_h, u64 rows, u32 width,       \
                                  float score, float factor, float epsilon, float *d_scores) {                    \
        topics_backward<P>(h, sums, d_h, rows, width, score, factor, epsilon, d_scores);                          \
    }
BELIEFS(square, SQUARE)
BELIEFS(abs, ABS)
BELIEFS(exp, EXP)
