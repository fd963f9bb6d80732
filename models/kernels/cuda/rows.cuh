// Rows of floats, one warp a row: what the kernels over rows share.
#pragma once
#include "common.cuh"

static const u32 WARPS_A_BLOCK = 8;

// The row of this warp; blocks of 256 threads.
DEVICE u64 row_of_warp() { return (u64)blockIdx.x * WARPS_A_BLOCK + threadIdx.x / 32; }

// Sum of `term(column)` over a row, the same order for every launch.
template <typename Term> DEVICE float row_sum(u32 width, Term term) {
    float sum = 0;
    for (u32 column = threadIdx.x % 32; column < width; column += 32) sum += term(column);
    return warp_sum(sum);
}
template <typename Term> DEVICE float row_max(u32 width, Term term) {
    float most = -INFINITY;
    for (u32 column = threadIdx.x % 32; column < width; column += 32) most = fmaxf(most, term(column));
    return warp_max(most);
}
template <typename Each> DEVICE void row_each(u32 width, Each each) {
    for (u32 column = threadIdx.x % 32; column < width; column += 32) each(column);
}
