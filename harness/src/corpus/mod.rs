//! Text to batches: readers, tokenizers, packing, masking.
