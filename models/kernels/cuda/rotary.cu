// Tiles of head selection cut out of projected beliefs and put back, turned on the way (PT 2026; rotary
// positions, rotate-half form, Su et al. 2021):
//   cut   tile[b, c, i, :] = scale R_i^turn wide[b n + i, first + c r ...]
//   put   wide[b n + i, first + c r ...] = scale R_i^turn tile[b, c, i, :]
// with turn 1 (R_i), -1 (R_i^-1) or 0 (as it is). Both are linear and each, turned the other way, is the
// gradient of the other. A tile is turned once here instead of at each of the passes that load it.
//   cut_bf16     a tile of bf16, as backward passes read it
//   cut_halves   two of fp16, high = fp16(x) and low = fp16(x - high): 22 bits of x where both are normal, which
//                a power of two in `scale` sees to
//   put          from a tile of f32
//
// Shapes: wide (B n, stride) f32; tiles (B, C, n, r); cosines and sines (n, r / 2) f32, not read if turn is 0.
// Grid: ceil(B n C r / 2 / 256) blocks of 256 threads. A thread owns a pair of columns (k, k + r / 2).
#include "common.cuh"

struct Pair {
    u64 wide, tile;
    u32 angle, half;
};

// The pair of this thread; false beyond the last.
DEVICE bool pair_of_thread(u32 sequences, u32 length, u32 channels, u32 rank, u32 stride, u32 first, Pair &pair) {
    u64 index = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    u32 half = rank / 2;
    if (index >= (u64)sequences * channels * length * half) return false;
    u32 column = (u32)(index % half);
    u64 row = index / half;
    u32 place = (u32)(row % length), channel = (u32)(row / length % channels);
    u64 sequence = row / length / channels;
    pair.tile = row * rank + column;
    pair.wide = (sequence * length + place) * stride + first + channel * rank + column;
    pair.angle = place * half + column;
    pair.half = half;
    return true;
}

DEVICE void turned(float &low, float &high, int turn, const float *cosines, const float *sines, u32 angle) {
    if (turn == 0) return;
    float c = cosines[angle], s = turn > 0 ? sines[angle] : -sines[angle];
    float x = low, y = high;
    low = x * c - y * s;
    high = x * s + y * c;
}

DEVICE u16 to_half(float x) {
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}
DEVICE float from_half(u16 bits) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
}
DEVICE u16 to_bf16(float x) { return (u16)pack_bf16(x, 0.f); }

KERNEL cut_bf16(const float *wide, u32 sequences, u32 length, u32 channels, u32 rank, u32 stride, u32 first, int turn,
                float scale, const float *cosines, const float *sines, u16 *tile) {
    Pair pair;
    if (!pair_of_thread(sequences, length, channels, rank, stride, first, pair)) return;
    float low = scale * wide[pair.wide], high = scale * wide[pair.wide + pair.half];
    turned(low, high, turn, cosines, sines, pair.angle);
    tile[pair.tile] = to_bf16(low);
    tile[pair.tile + pair.half] = to_bf16(high);
}

KERNEL cut_halves(const float *wide, u32 sequences, u32 length, u32 channels, u32 rank, u32 stride, u32 first,
                  int turn, float scale, const float *cosines, const float *sines, u16 *leading, u16 *rest) {
    Pair pair;
    if (!pair_of_thread(sequences, length, channels, rank, stride, first, pair)) return;
    float low = scale * wide[pair.wide], high = scale * wide[pair.wide + pair.half];
    turned(low, high, turn, cosines, sines, pair.angle);
    u16 a = to_half(low), b = to_half(high);
    leading[pair.tile] = a;
    leading[pair.tile + pair.half] = b;
    rest[pair.tile] = to_half(low - from_half(a));
    rest[pair.tile + pair.half] = to_half(high - from_half(b));
}

KERNEL put(const float *tile, u32 sequences, u32 length, u32 channels, u32 rank, u32 stride, u32 first, int turn,
           float scale, const float *cosines, const float *sines, float *wide) {
    Pair pair;
    if (!pair_of_thread(sequences, length, channels, rank, stride, first, pair)) return;
    float low = scale * tile[pair.tile], high = scale * tile[pair.tile + pair.half];
    turned(low, high, turn, cosines, sines, pair.angle);
    wide[pair.wide] = low;
    wide[pair.wide + pair.half] = high;
}
