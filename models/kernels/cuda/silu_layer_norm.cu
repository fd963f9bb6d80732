// Head of PT 2026 between its products: y = LN(SiLU(x + b)) gain + bias (Ba et al. 2016, biased variance):
//   a = t / (1 + exp -t), t = x + b;   n = (a - mean) r, r = 1 / sqrt(var + epsilon);   y = n gain + bias
// and with d = dy gain:
//   da = r (d - mean(d) - n mean(d n)),   dx = da SiLU'(t),   db = sum dx,  dgain = sum dy n,  dbias = sum dy
//
// Shapes: x, y, dy, dx (rows, width) f32; b, gain, bias (width); statistics (rows, 2): mean, r;
// partial (ceil(rows / 64), 3, width): db, dgain, dbias of 64 rows; sums (3, width), added to.
// Grids: rows: ceil(rows / 8) blocks of 256 threads, a warp owns a row. Columns: (ceil(width / 256),
// ceil(rows / 64)) blocks, a thread owns a column of 64 rows; then (ceil(width / 256), 3), a thread owns a sum.
// No atomics, one order of sums.
#include "rows.cuh"

static const u32 ROWS_A_PART = 64;

DEVICE float sigmoid(float t) { return 1 / (1 + exp2_fast(-1.44269504088896341f * t)); }

KERNEL silu_layer_norm_forward(const float *x, const float *b, const float *gain, const float *bias, u64 rows,
                               u32 width, float epsilon, float *y, float *statistics) {
    u64 row = row_of_warp();
    if (row >= rows) return;
    x += row * width;
    y += row * width;
    auto activated = [&](u32 at) { float t = x[at] + b[at]; return t * sigmoid(t); };
    float mean = row_sum(width, activated) / width;
    float variance = row_sum(width, [&](u32 at) { float c = activated(at) - mean; return c * c; }) / width;
    float inverse = 1 / sqrtf(variance + epsilon);
    row_each(width, [&](u32 at) { y[at] = (activated(at) - mean) * inverse * gain[at] + bias[at]; });
    if (threadIdx.x % 32 == 0) {
        statistics[2 * row] = mean;
        statistics[2 * row + 1] = inverse;
    }
}

KERNEL silu_layer_norm_backward(const float *x, const float *b, const float *gain, const float *statistics,
                                const float *d_y, u64 rows, u32 width, float *d_x) {
    u64 row = row_of_warp();
    if (row >= rows) return;
    u64 first = row * width;
    float mean = statistics[2 * row], inverse = statistics[2 * row + 1];
    auto normal = [&](u32 at) { float t = x[first + at] + b[at]; return (t * sigmoid(t) - mean) * inverse; };
    float d_mean = row_sum(width, [&](u32 at) { return d_y[first + at] * gain[at]; }) / width;
    float d_slope = row_sum(width, [&](u32 at) { return d_y[first + at] * gain[at] * normal(at); }) / width;
    row_each(width, [&](u32 at) {
        float t = x[first + at] + b[at], s = sigmoid(t);
        float d = inverse * (d_y[first + at] * gain[at] - d_mean - normal(at) * d_slope);
        d_x[first + at] = d * s * (1 + t * (1 - s));
    });
}

KERNEL silu_layer_norm_column_parts(const float *x, const float *b, const float *statistics, const float *d_y,
                                    const float *d_x, u64 rows, u32 width, float *partial) {
    u32 column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= width) return;
    float d_b = 0, d_gain = 0, d_bias = 0, own = b[column];
    u64 first = (u64)blockIdx.y * ROWS_A_PART;
    for (u64 row = first; row < first + ROWS_A_PART && row < rows; row++) {
        float t = x[row * width + column] + own, d = d_y[row * width + column];
        d_b += d_x[row * width + column];
        d_gain += d * (t * sigmoid(t) - statistics[2 * row]) * statistics[2 * row + 1];
        d_bias += d;
    }
    float *out = partial + (u64)blockIdx.y * 3 * width + column;
    out[0] = d_b;
    out[width] = d_gain;
    out[2 * (u64)width] = d_bias;
}

KERNEL silu_layer_norm_column_sums(const float *partial, u32 parts, u32 width, float *sums) {
    u32 column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= width) return;
    u64 place = (u64)blockIdx.y * width + column;
    float sum = 0;
    for (u32 part = 0; part < parts; part++) sum += partial[(u64)part * 3 * width + place];
    sums[place] += sum;
}
