// Cross-entropy of target rows, in nats:
//   loss_r = log sum_v exp l_rv - l_r,label        (losses)
//   dl_rv  = weight (exp(l_rv - log sum) - [v = label])     in place of the logits (gradients)
//
// Shapes: logits (rows, vocab) f32; labels (rows) u32; losses (rows) f32.
// Grid: a block of 256 threads owns a row; two passes, no atomics, one order of sums.
// Chunks of rows keep the logits small: the caller multiplies them out chunk by chunk.
#include "common.cuh"

static const float LOG2_E = 1.44269504088896341f, LN_2 = 0.693147180559945309f;

// log2 of the sum over a row of exp2(LOG2_E logits); `parts` is shared, one entry a warp.
DEVICE float level_of(const float *logits, u32 vocab, float *parts) {
    float most = -INFINITY;
    for (u32 at = threadIdx.x; at < vocab; at += blockDim.x) most = fmaxf(most, logits[at]);
    most = warp_max(most);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = most;
    __syncthreads();
    for (u32 warp = 0; warp < blockDim.x / 32; warp++) most = fmaxf(most, parts[warp]);
    __syncthreads();
    float sum = 0;
    for (u32 at = threadIdx.x; at < vocab; at += blockDim.x) sum += exp2_fast(LOG2_E * (logits[at] - most));
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = sum;
    __syncthreads();
    sum = 0;
    for (u32 warp = 0; warp < blockDim.x / 32; warp++) sum += parts[warp];
    return LOG2_E * most + log2f(sum);
}

KERNEL cross_entropy_losses(const float *logits, const u32 *labels, u32 vocab, float *losses) {
    __shared__ float parts[8];
    u64 row = blockIdx.x;
    float level = level_of(logits + row * vocab, vocab, parts);
    if (threadIdx.x == 0) losses[row] = LN_2 * level - logits[row * vocab + labels[row]];
}

KERNEL cross_entropy_gradients(float *logits, const u32 *labels, u32 vocab, float weight, float *losses) {
    __shared__ float parts[8];
    u64 row = blockIdx.x;
    logits += row * vocab;
    float level = level_of(logits, vocab, parts);
    u32 label = labels[row];
    if (threadIdx.x == 0) losses[row] = LN_2 * level - logits[label];
    __syncthreads();    // the label's logit is read before it is replaced
    for (u32 at = threadIdx.x; at < vocab; at += blockDim.x)
        logits[at] = weight * (exp2_fast(LOG2_E * logits[at] - level) - (at == label ? 1.f : 0.f));
}
