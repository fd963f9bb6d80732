// Rows of a table by id, and the gradient of the table:
//   z_t = scale S[id_t]                                   (embedding_forward)
//   dS[id] += scale sum over tokens t of that id of dz_t   (embedding_pieces, embedding_runs)
//
// The host sorts the tokens by id a step ahead: `order` lists token places by id; a piece is at most 256 of them
// with one id; the pieces of an id follow one another.
//
// Shapes: ids (tokens) u32; table (vocab, width), rows z, dz (tokens, width) f32; order (tokens) u32;
// pieces (count + 1) u32: first place of each in `order`; partial (count, width) f32;
// runs (ids + 1) u32: first piece of each id that occurs; run_ids (ids) u32.
// Grids: forward ceil(tokens / 8) blocks of 256 threads, a warp owns a row. Gradient: (ceil(width / 256), pieces),
// then (ceil(width / 256), ids), a thread owns a column. No atomics, one order of sums.
#include "rows.cuh"

KERNEL embedding_forward(const u32 *ids, const float *table, u64 tokens, u32 width, float scale, float *z) {
    u64 row = row_of_warp();
    if (row >= tokens) return;
    const float *from = table + (u64)ids[row] * width;
    row_each(width, [&](u32 at) { z[row * width + at] = scale * from[at]; });
}

KERNEL embedding_pieces(const u32 *order, const u32 *pieces, const float *d_z, u32 width, float *partial) {
    u32 column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= width) return;
    float sum = 0;
    for (u32 at = pieces[blockIdx.y]; at < pieces[blockIdx.y + 1]; at++) sum += d_z[(u64)order[at] * width + column];
    partial[(u64)blockIdx.y * width + column] = sum;
}

KERNEL embedding_runs(const u32 *runs, const u32 *run_ids, const float *partial, u32 width, float scale,
                      float *d_table) {
    u32 column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= width) return;
    float sum = 0;
    for (u32 piece = runs[blockIdx.y]; piece < runs[blockIdx.y + 1]; piece++) sum += partial[(u64)piece * width + column];
    d_table[(u64)run_ids[blockIdx.y] * width + column] += scale * sum;
}
