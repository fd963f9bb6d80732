// Tiles in shared memory and products of tiles on tensor cores (mma.m16n8k16, bf16 operands, f32 sums).
#pragma once
#include "common.cuh"

static const int TILE = 64;    // rows and columns of a block's square
static const int WARPS = 4;    // of 16 rows each
static const float NONE = INFINITY;

// A tile (64, R) in shared memory; chunks of 16 bytes change places by row, so that eight rows of a
// chunk lie in different banks.
template <int R> struct Tile {
    static const int CHUNKS = R / 8;
    u16 data[TILE * R];
    DEVICE_MEMBER u32 address(int row, int chunk) const {
        int turn = CHUNKS >= 8 ? row % 8 : row / (8 / (CHUNKS < 8 ? CHUNKS : 8)) % CHUNKS;
        return shared_address(data) + (row * CHUNKS + (chunk ^ turn)) * 16;
    }
    DEVICE_MEMBER void load(const u16 *from, int first, int length) {
        for (int at = threadIdx.x; at < TILE * CHUNKS; at += 32 * WARPS) {
            int row = at / CHUNKS, chunk = at % CHUNKS;
            u32 to = address(row, chunk);
            if (first + row < length) {
                copy_async_16(to, from + (u64)(first + row) * R + 8 * chunk);
            } else {
                asm volatile("st.shared.v4.u32 [%0], {%1,%1,%1,%1};" ::"r"(to), "r"(0) : "memory");
            }
        }
    }
    // Rows 16 `warp`.., terms 16 `step`.. as left operand.
    DEVICE_MEMBER void left(u32 (&a)[4], int first_row, int step) const {
        int lane = threadIdx.x % 32;
        load_matrix_4(a, address(first_row + lane % 16, 2 * step + lane / 16));
    }
    // As right operand of x tile^T: columns are rows 16 `block`.. of the tile.
    DEVICE_MEMBER void right(u32 (&b)[4], int block, int step) const {
        int lane = threadIdx.x % 32;
        load_matrix_4(b, address(16 * block + lane % 8 + 8 * (lane / 16), 2 * step + lane / 8 % 2));
    }
    // As right operand of x tile: terms are rows 16 `step`.., columns 16 `block`...
    DEVICE_MEMBER void right_turned(u32 (&b)[4], int step, int block) const {
        int lane = threadIdx.x % 32;
        load_matrix_4_turned(b, address(16 * step + lane % 16, 2 * block + lane / 16));
    }
};

// s (16, 64) += x y^T for the warp's 16 rows of x.
template <int R> DEVICE void scores(float (&s)[8][4], const Tile<R> &x, const Tile<R> &y) {
    int warp = threadIdx.x / 32;
#pragma unroll
    for (int step = 0; step < R / 16; step++) {
        u32 a[4], b[4];
        x.left(a, 16 * warp, step);
#pragma unroll
        for (int block = 0; block < 4; block++) {
            y.right(b, block, step);
            multiply_16_8_16(s[2 * block], a, b[0], b[1]);
            multiply_16_8_16(s[2 * block + 1], a, b[2], b[3]);
        }
    }
}

// sum (16, R) += p (16, 64) y (64, R), p rounded to bf16.
template <int R> DEVICE void gather(float (&sum)[R / 8][4], const float (&p)[8][4], const Tile<R> &y) {
#pragma unroll
    for (int step = 0; step < 4; step++) {
        const float *low = p[2 * step], *high = p[2 * step + 1];
        u32 a[4] = {pack_bf16(low[0], low[1]), pack_bf16(low[2], low[3]),
                    pack_bf16(high[0], high[1]), pack_bf16(high[2], high[3])};
#pragma unroll
        for (int block = 0; block < R / 16; block++) {
            u32 b[4];
            y.right_turned(b, step, block);
            multiply_16_8_16(sum[2 * block], a, b[0], b[1]);
            multiply_16_8_16(sum[2 * block + 1], a, b[2], b[3]);
        }
    }
}

DEVICE float quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
DEVICE float quad_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// Entry `at` of a lane's fragment: row `lane / 4 + 8 (at / 2)`, column `8 block + 2 (lane % 4) + at % 2`.
DEVICE int fragment_row(int half) { return 16 * (threadIdx.x / 32) + threadIdx.x % 32 / 4 + 8 * half; }
DEVICE int fragment_column(int block, int at) { return 8 * block + 2 * (threadIdx.x % 4) + at % 2; }
