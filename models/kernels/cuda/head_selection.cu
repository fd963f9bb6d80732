// Head selection of PT 2026 (pt-spec, equations of H and of its messages) without (B, C, n, n) in memory.
//
// Per sequence and channel, with u, v, w tiles (n, R) in bf16, rotary turns applied:
//   p_ij = exp2(k u_i.v_j - lse_i), 0 on the diagonal and where a word is padding,
//   A_i  = sum_j p_ij v_j                                       (rows_forward)
//   D_j  = sum_i p_ij w_i                                       (columns_forward; w = u in the exact form)
// and with a = dL/dA, b = dL/dD:
//   E_i  = sum_j p_ij b_j,  delta_i = a_i.A_i + w_i.E_i         (rows_gradient_1)
//   ds   = k' p (a v^T + w b^T - delta)
//   du_i = sum_j ds_ij v_j (+ E_i if w = u)                     (rows_gradient_2)
//   dv_j = sum_i ds_ij u_i + p_ij a_i                           (columns_gradient)
//
// Shapes: u, v, w, a, b (heads, n, R) bf16; A, D, dL/d. (heads, n, R) f32; lse, delta (heads, n) f32 with
// heads = B C; words (B, n) bytes, not 0 for words. k = logit factor times log2 e, k' the logit factor.
// lse is +infinity for a row with nothing allowed, so that its p is 0.
// Grid: (ceil(n / 64), heads), 128 threads. A block owns 64 rows (or columns) of its outputs; every sum has
// one owner and one order: no atomics, the same bits in every run.
#include "tile.cuh"

struct Place {
    int length, channels;
    const unsigned char *words;    // (B, n), not 0 for words
};

// The square of a block: 64 rows (or columns) of one head, against all tiles of the other side.
template <int R> struct Square {
    int length, first, tiles;
    u64 head, offset;
    const unsigned char *word;
    DEVICE_MEMBER explicit Square(Place place)
        : length(place.length), first(blockIdx.x * TILE), tiles((place.length + TILE - 1) / TILE),
          head(blockIdx.y), offset((u64)blockIdx.y * place.length * R),
          word(place.words + blockIdx.y / (u32)place.channels * (u64)place.length) {}
    // A value a word, into shared memory.
    template <typename T> DEVICE_MEMBER void copy(T *to, const T *from) const {
        for (int at = threadIdx.x; at < length; at += blockDim.x) to[at] = from[at];
    }
    // `from` (heads, n) at the two rows of this lane's fragment.
    DEVICE_MEMBER void rows(float (&value)[2], const float *from, float beyond) const {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int i = first + fragment_row(half);
            value[half] = i < length ? from[head * length + i] : beyond;
        }
    }
    // Row `row` of `to` (heads, n, R): `factor` times one half of the lane's sums.
    DEVICE_MEMBER void store(float *to, int row, int half, const float (&sum)[R / 8][4], float factor) const {
#pragma unroll
        for (int block = 0; block < R / 8; block++) {
            float2 pair = make_float2(factor * sum[block][2 * half], factor * sum[block][2 * half + 1]);
            *(float2 *)(to + offset + (u64)row * R + fragment_column(block, 0)) = pair;
        }
    }
};

// Rows: A and lse.
template <int R>
DEVICE void rows_forward(Place place, const u16 *u, const u16 *v, float scale, float *message, float *lse) {
    extern __shared__ __align__(128) unsigned char shared[];
    const Square<R> here(place);
    Tile<R> &left = *(Tile<R> *)shared;
    Tile<R> *right = (Tile<R> *)(shared + sizeof(Tile<R>));
    u64 *masks = (u64 *)(shared + 3 * sizeof(Tile<R>));
    for (int tile = threadIdx.x / 32; tile < here.tiles; tile += WARPS) {
        int low = tile * TILE + threadIdx.x % 32, high = low + 32;
        u32 a = __ballot_sync(0xffffffffu, low < here.length && here.word[low]);
        u32 b = __ballot_sync(0xffffffffu, high < here.length && here.word[high]);
        if (threadIdx.x % 32 == 0) masks[tile] = (u64)b << 32 | a;
    }
    bool alive[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int i = here.first + fragment_row(half);
        alive[half] = i < here.length && here.word[i];
    }
    left.load(u + here.offset, here.first, here.length);
    right[0].load(v + here.offset, 0, here.length);
    copy_async_commit();
    float sum[R / 8][4] = {}, most[2] = {-NONE, -NONE}, weight[2] = {};
    for (int tile = 0; tile < here.tiles; tile++) {
        copy_async_wait<0>();
        __syncthreads();
        if (tile + 1 < here.tiles) right[(tile + 1) % 2].load(v + here.offset, (tile + 1) * TILE, here.length);
        copy_async_commit();
        const Tile<R> &y = right[tile % 2];
        float s[8][4] = {};
        scores<R>(s, left, y);
        // Only here.tiles on the diagonal or with padding need a look at every entry.
        u64 word_bits = masks[tile];
        bool plain = word_bits == ~0ull && tile != blockIdx.x;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float top = most[half];
            if (plain && alive[half]) {
#pragma unroll
                for (int block = 0; block < 8; block++)
#pragma unroll
                    for (int at = 2 * half; at < 2 * half + 2; at++) top = fmaxf(top, s[block][at]);
            } else {
                int i = here.first + fragment_row(half) - tile * TILE;
#pragma unroll
                for (int block = 0; block < 8; block++)
#pragma unroll
                    for (int at = 2 * half; at < 2 * half + 2; at++) {
                        int j = fragment_column(block, at);
                        bool allowed = alive[half] && j != i && (word_bits >> j & 1);
                        s[block][at] = allowed ? s[block][at] : -NONE;
                        top = fmaxf(top, s[block][at]);
                    }
            }
            top = quad_max(top);
            float anchor = top == -NONE ? 0 : scale * top, shrink = exp2_fast(scale * most[half] - anchor), part = 0;
#pragma unroll
            for (int block = 0; block < 8; block++)
#pragma unroll
                for (int at = 2 * half; at < 2 * half + 2; at++) {
                    s[block][at] = exp2_fast(scale * s[block][at] - anchor);
                    part += s[block][at];
                }
            weight[half] = weight[half] * shrink + part;
            most[half] = top;
#pragma unroll
            for (int block = 0; block < R / 8; block++) {
                sum[block][2 * half] *= shrink;
                sum[block][2 * half + 1] *= shrink;
            }
        }
        gather<R>(sum, s, y);
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int i = here.first + fragment_row(half);
        float total = quad_sum(weight[half]), inverse = total > 0 ? 1 / total : 0;
        if (i >= here.length) continue;
        float level = total > 0 ? scale * most[half] + log2f(total) : NONE;
        if (threadIdx.x % 4 == 0) lse[here.head * here.length + i] = level;
        here.store(message, i, half, sum, inverse);
    }
}

// Columns: D. The square is computed turned, so that a warp owns 16 columns.
template <int R>
DEVICE void columns_forward(Place place, const u16 *u, const u16 *v, const u16 *w, const float *lse,
                            float scale, float *message) {
    extern __shared__ __align__(128) unsigned char shared[];
    const Square<R> here(place);
    Tile<R> &left = *(Tile<R> *)shared;
    Tile<R> *right = (Tile<R> *)(shared + sizeof(Tile<R>));
    Tile<R> *sent = right + 2;
    bool apart = w != u;
    float *levels = (float *)(shared + (apart ? 5 : 3) * sizeof(Tile<R>));
    here.copy(levels, lse + here.head * here.length);
    left.load(v + here.offset, here.first, here.length);
    right[0].load(u + here.offset, 0, here.length);
    if (apart) sent[0].load(w + here.offset, 0, here.length);
    copy_async_commit();
    float sum[R / 8][4] = {};
    for (int tile = 0; tile < here.tiles; tile++) {
        copy_async_wait<0>();
        __syncthreads();
        if (tile + 1 < here.tiles) {
            right[(tile + 1) % 2].load(u + here.offset, (tile + 1) * TILE, here.length);
            if (apart) sent[(tile + 1) % 2].load(w + here.offset, (tile + 1) * TILE, here.length);
        }
        copy_async_commit();
        float p[8][4] = {};
        scores<R>(p, left, right[tile % 2]);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int j = here.first + fragment_row(half);
            bool alive = j < here.length && here.word[j];
#pragma unroll
            for (int block = 0; block < 8; block++)
#pragma unroll
                for (int at = 2 * half; at < 2 * half + 2; at++) {
                    int i = tile * TILE + fragment_column(block, at);
                    bool allowed = alive && i < here.length && i != j;
                    p[block][at] = allowed ? exp2_fast(scale * p[block][at] - levels[i]) : 0;
                }
        }
        gather<R>(sum, p, apart ? sent[tile % 2] : right[tile % 2]);
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int j = here.first + fragment_row(half);
        if (j >= here.length) continue;
        here.store(message, j, half, sum, 1);
    }
}


// What a lane holds of a row: 16 bits from memory, widened.
DEVICE float widen(u16 x) { return __uint_as_float((u32)x << 16); }

// Rows: E and delta.
template <int R>
DEVICE void rows_gradient_1(Place place, const u16 *u, const u16 *v, const u16 *w, const u16 *a, const u16 *b,
                            const float *message, const float *lse, float scale, float *d_sent, float *delta) {
    extern __shared__ __align__(128) unsigned char shared[];
    const Square<R> here(place);
    Tile<R> &left = *(Tile<R> *)shared;
    Tile<R> *right = (Tile<R> *)(shared + sizeof(Tile<R>)), *given = right + 2;
    unsigned char *words = shared + 5 * sizeof(Tile<R>);
    here.copy(words, here.word);
    float level[2];
    here.rows(level, lse, NONE);
    left.load(u + here.offset, here.first, here.length);
    right[0].load(v + here.offset, 0, here.length);
    given[0].load(b + here.offset, 0, here.length);
    copy_async_commit();
    float sum[R / 8][4] = {};
    for (int tile = 0; tile < here.tiles; tile++) {
        copy_async_wait<0>();
        __syncthreads();
        if (tile + 1 < here.tiles) {
            right[(tile + 1) % 2].load(v + here.offset, (tile + 1) * TILE, here.length);
            given[(tile + 1) % 2].load(b + here.offset, (tile + 1) * TILE, here.length);
        }
        copy_async_commit();
        float p[8][4] = {};
        scores<R>(p, left, right[tile % 2]);
#pragma unroll
        for (int block = 0; block < 8; block++)
#pragma unroll
            for (int at = 0; at < 4; at++) {
                int i = here.first + fragment_row(at / 2), j = tile * TILE + fragment_column(block, at);
                bool allowed = j < here.length && j != i && words[j];
                p[block][at] = allowed ? exp2_fast(scale * p[block][at] - level[at / 2]) : 0;
            }
        gather<R>(sum, p, given[tile % 2]);
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int i = here.first + fragment_row(half);
        float part = 0;
        if (i < here.length) {
#pragma unroll
            for (int block = 0; block < R / 8; block++)
#pragma unroll
                for (int at = 2 * half; at < 2 * half + 2; at++) {
                    u64 entry = here.offset + (u64)i * R + fragment_column(block, at);
                    part += widen(a[entry]) * message[entry] + widen(w[entry]) * sum[block][at];
                    d_sent[entry] = sum[block][at];
                }
        }
        part = quad_sum(part);
        if (i < here.length && threadIdx.x % 4 == 0) delta[here.head * here.length + i] = part;
    }
}

// Rows: du. `factor` is the natural logit factor.
template <int R>
DEVICE void rows_gradient_2(Place place, const u16 *u, const u16 *v, const u16 *w, const u16 *a, const u16 *b,
                            const float *lse, const float *delta, const float *d_sent, float scale, float factor,
                            float *d_u) {
    extern __shared__ __align__(128) unsigned char shared[];
    const Square<R> here(place);
    bool apart = w != u;
    Tile<R> *left = (Tile<R> *)shared;    // u, a, w
    Tile<R> *right = left + (apart ? 3 : 2), *given = right + 2;
    unsigned char *words = (unsigned char *)(given + 2);
    here.copy(words, here.word);
    float level[2], mean[2];
    here.rows(level, lse, NONE);
    here.rows(mean, delta, 0);
    left[0].load(u + here.offset, here.first, here.length);
    left[1].load(a + here.offset, here.first, here.length);
    if (apart) left[2].load(w + here.offset, here.first, here.length);
    right[0].load(v + here.offset, 0, here.length);
    given[0].load(b + here.offset, 0, here.length);
    copy_async_commit();
    float sum[R / 8][4] = {};
    for (int tile = 0; tile < here.tiles; tile++) {
        copy_async_wait<0>();
        __syncthreads();
        if (tile + 1 < here.tiles) {
            right[(tile + 1) % 2].load(v + here.offset, (tile + 1) * TILE, here.length);
            given[(tile + 1) % 2].load(b + here.offset, (tile + 1) * TILE, here.length);
        }
        copy_async_commit();
        float p[8][4] = {}, d[8][4] = {};
        scores<R>(p, left[0], right[tile % 2]);
        scores<R>(d, left[1], right[tile % 2]);
        scores<R>(d, left[apart ? 2 : 0], given[tile % 2]);
#pragma unroll
        for (int block = 0; block < 8; block++)
#pragma unroll
            for (int at = 0; at < 4; at++) {
                int i = here.first + fragment_row(at / 2), j = tile * TILE + fragment_column(block, at);
                bool allowed = j < here.length && j != i && words[j];
                float q = allowed ? exp2_fast(scale * p[block][at] - level[at / 2]) : 0;
                d[block][at] = factor * q * (d[block][at] - mean[at / 2]);
            }
        gather<R>(sum, d, right[tile % 2]);
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int i = here.first + fragment_row(half);
        if (i >= here.length) continue;
#pragma unroll
        for (int block = 0; block < R / 8; block++)
#pragma unroll
            for (int at = 2 * half; at < 2 * half + 2; at++) {
                u64 entry = here.offset + (u64)i * R + fragment_column(block, at);
                d_u[entry] = sum[block][at] + (apart ? 0 : d_sent[entry]);
            }
    }
}

// Columns: dv.
template <int R>
DEVICE void columns_gradient(Place place, const u16 *u, const u16 *v, const u16 *w, const u16 *a, const u16 *b,
                             const float *lse, const float *delta, float scale, float factor, float *d_v) {
    extern __shared__ __align__(128) unsigned char shared[];
    const Square<R> here(place);
    bool apart = w != u;
    Tile<R> *left = (Tile<R> *)shared;    // v, b
    Tile<R> *right = left + 2;            // two stages of u, a, w
    int each = apart ? 3 : 2;
    float *levels = (float *)(right + 2 * each), *means = levels + here.length;
    here.copy(levels, lse + here.head * here.length);
    here.copy(means, delta + here.head * here.length);
    left[0].load(v + here.offset, here.first, here.length);
    left[1].load(b + here.offset, here.first, here.length);
    right[0].load(u + here.offset, 0, here.length);
    right[1].load(a + here.offset, 0, here.length);
    if (apart) right[2].load(w + here.offset, 0, here.length);
    copy_async_commit();
    float sum[R / 8][4] = {};
    for (int tile = 0; tile < here.tiles; tile++) {
        copy_async_wait<0>();
        __syncthreads();
        Tile<R> *now = right + tile % 2 * each, *next = right + (tile + 1) % 2 * each;
        if (tile + 1 < here.tiles) {
            next[0].load(u + here.offset, (tile + 1) * TILE, here.length);
            next[1].load(a + here.offset, (tile + 1) * TILE, here.length);
            if (apart) next[2].load(w + here.offset, (tile + 1) * TILE, here.length);
        }
        copy_async_commit();
        float p[8][4] = {}, d[8][4] = {};
        scores<R>(p, left[0], now[0]);
        scores<R>(d, left[0], now[1]);
        scores<R>(d, left[1], now[apart ? 2 : 0]);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int j = here.first + fragment_row(half);
            bool alive = j < here.length && here.word[j];
#pragma unroll
            for (int block = 0; block < 8; block++)
#pragma unroll
                for (int at = 2 * half; at < 2 * half + 2; at++) {
                    int i = tile * TILE + fragment_column(block, at);
                    bool allowed = alive && i < here.length && i != j;
                    float q = allowed ? exp2_fast(scale * p[block][at] - levels[i]) : 0;
                    d[block][at] = allowed ? factor * q * (d[block][at] - means[i]) : 0;
                    p[block][at] = q;
                }
        }
        gather<R>(sum, d, now[0]);
        gather<R>(sum, p, now[1]);
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int j = here.first + fragment_row(half);
        if (j >= here.length) continue;
        here.store(d_v, j, half, sum, 1);
    }
}

#define SELECT(R)                                                                                         \
    KERNEL __launch_bounds__(32 * WARPS) rows_forward_##R(int length, int channels,                       \
            const unsigned char *words, const u16 *u, const u16 *v, float scale, float *message, float *lse) { \
        rows_forward<R>({length, channels, words}, u, v, scale, message, lse);                            \
    }                                                                                                     \
    KERNEL __launch_bounds__(32 * WARPS) columns_forward_##R(int length, int channels,                    \
            const unsigned char *words, const u16 *u, const u16 *v, const u16 *w, const float *lse,       \
            float scale, float *message) {                                                                \
        columns_forward<R>({length, channels, words}, u, v, w, lse, scale, message);                      \
    }                                                                                                     \
    KERNEL __launch_bounds__(32 * WARPS) rows_gradient_1_##R(int length, int channels,                    \
            const unsigned char *words, const u16 *u, const u16 *v, const u16 *w, const u16 *a,           \
            const u16 *b, const float *message, const float *lse, float scale, float *d_sent, float *delta) { \
        rows_gradient_1<R>({length, channels, words}, u, v, w, a, b, message, lse, scale, d_sent, delta); \
    }                                                                                                     \
    KERNEL __launch_bounds__(32 * WARPS) rows_gradient_2_##R(int length, int channels,                    \
            const unsigned char *words, const u16 *u, const u16 *v, const u16 *w, const u16 *a,           \
            const u16 *b, const float *lse, const float *delta, const float *d_sent, float scale,         \
            float factor, float *d_u) {                                                                   \
        rows_gradient_2<R>({length, channels, words}, u, v, w, a, b, lse, delta, d_sent, scale, factor, d_u); \
    }                                                                                                     \
    KERNEL __launch_bounds__(32 * WARPS) columns_gradient_##R(int length, int channels,                   \
            const unsigned char *words, const u16 *u, const u16 *v, const u16 *w, const u16 *a,           \
            const u16 *b, const float *lse, const float *delta, float scale, float factor, float *d_v) {  \
        columns_gradient<R>({length, channels, words}, u, v, w, a, b, lse, delta, scale, factor, d_v);    \
    }
SELECT(16)
SELECT(64)
SELECT(128)
