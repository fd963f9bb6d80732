// AdamW over one flat buffer with one rule per tensor, and the global norm of the gradients
// (Loshchilov and Hutter 2019, with decoupled decay):
//   g     = s dL/dtheta,  s = min(1, threshold / (norm + 1e-6))          (sum_of_squares, finish_norm)
//   m     = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2
//   theta = theta (1 - rate decay) - rate (m / c1) / (sqrt(v) / c2 + epsilon)            (adamw)
//
// Shapes: theta, m, v, gradient (P) f32, tensors padded to multiples of 4 entries; half_copy (P) bf16.
// rate = step rate times the tensor's; c1 = 1 - beta1^t, c2 = sqrt(1 - beta2^t), made by the host in f64.
// Grids: a block of 256 threads owns 4096 entries; finish_norm is one block. Sums in f64 in one order.
#include "common.cuh"

struct Rule {
    u32 first_block;    // of CHUNK entries; tensors start at multiples of 4 entries
    u32 count;
    u64 start;
    float rate, decay, epsilon, unused;
};
// What changes from step to step, written by `finish_norm` and by the host before a replay.
struct Step {
    float gradient_scale, first_correction, second_correction_root, rate;
};
static const u32 CHUNK = 4096, THREADS = 256;

// Partial sums of squares, one per block, in f64: the same bits for every launch.
KERNEL sum_of_squares(const float4 *__restrict__ g, u64 count4, double *__restrict__ partial) {
    __shared__ double sums[THREADS / 32];
    double sum = 0;
    u64 first = (u64)blockIdx.x * (CHUNK / 4);
    for (u32 at = threadIdx.x; at < CHUNK / 4; at += THREADS) {
        if (first + at >= count4) break;
        float4 x = g[first + at];
        sum += (double)x.x * x.x + (double)x.y * x.y + (double)x.z * x.z + (double)x.w * x.w;
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x < 32) {
        double x = threadIdx.x < THREADS / 32 ? sums[threadIdx.x] : 0.0;
        x = warp_sum(x);
        if (threadIdx.x == 0) partial[blockIdx.x] = x;
    }
}

// One block: the norm and the factor that clips it, into device memory.
KERNEL finish_norm(const double *__restrict__ partial, u32 count, double threshold, double *norm,
                   Step *step) {
    __shared__ double sums[32];
    double sum = 0;
    for (u32 at = threadIdx.x; at < count; at += blockDim.x) sum += partial[at];
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        double total = 0;
        for (u32 warp = 0; warp < blockDim.x / 32; warp++) total += sums[warp];
        double length = sqrt(total);
        *norm = length;
        double scale = threshold > 0 ? threshold / (length + 1e-6) : 1.0;
        step->gradient_scale = (float)(scale < 1.0 ? scale : 1.0);
    }
}

DEVICE float update(float theta, float g, float &m, float &v, float beta1, float beta2,
                    const Rule &rule, const Step &step) {
    g *= step.gradient_scale;
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g * g;
    float rate = step.rate * rule.rate;
    float root = sqrtf(v) / step.second_correction_root + rule.epsilon;
    return theta * (1 - rate * rule.decay) - rate * (m / step.first_correction) / root;
}

// A block finds its tensor by bisection; 16 bytes a thread and access; the copy in bf16 is what
// products read.
KERNEL adamw(float *__restrict__ theta, float *__restrict__ first, float *__restrict__ second,
             const float *__restrict__ gradient, u16 *__restrict__ half_copy,
             const Rule *__restrict__ rules, u32 tensors, float beta1, float beta2,
             const Step *__restrict__ this_step) {
    u32 low = 0, high = tensors;
    while (high - low > 1) {
        u32 middle = (low + high) / 2;
        if (rules[middle].first_block <= blockIdx.x) low = middle; else high = middle;
    }
    const Rule rule = rules[low];
    const Step step = *this_step;
    u32 begin = (blockIdx.x - rule.first_block) * CHUNK;
    for (u32 at = begin + 4 * threadIdx.x; at < begin + CHUNK && at < rule.count; at += 4 * THREADS) {
        u64 place = rule.start + at;
        if (at + 4 <= rule.count) {
            float4 t = *(float4 *)(theta + place), m = *(float4 *)(first + place);
            float4 v = *(float4 *)(second + place), g = *(const float4 *)(gradient + place);
            t.x = update(t.x, g.x, m.x, v.x, beta1, beta2, rule, step);
            t.y = update(t.y, g.y, m.y, v.y, beta1, beta2, rule, step);
            t.z = update(t.z, g.z, m.z, v.z, beta1, beta2, rule, step);
            t.w = update(t.w, g.w, m.w, v.w, beta1, beta2, rule, step);
            *(float4 *)(theta + place) = t;
            *(float4 *)(first + place) = m;
            *(float4 *)(second + place) = v;
            uint2 half = make_uint2(pack_bf16(t.x, t.y), pack_bf16(t.z, t.w));
            *(uint2 *)(half_copy + place) = half;
        } else {
            for (u32 rest = at; rest < rule.count; rest++) {
                u64 one = rule.start + rest;
                float m = first[one], v = second[one];
                float t = update(theta[one], gradient[one], m, v, beta1, beta2, rule, step);
                theta[one] = t; first[one] = m; second[one] = v;
                half_copy[one] = (u16)pack_bf16(t, 0.f);
            }
        }
    }
}
