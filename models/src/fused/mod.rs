//! Fused CPU kernels in f32 over flat buffers.
