//! What a launch did, counted.

use std::collections::BTreeMap;

/// Counts of one launch; equal for every run of the same launch.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Instructions issued, one a warp.
    pub warp_instructions: u64,
    /// The same by mnemonic.
    pub by_mnemonic: BTreeMap<&'static str, u64>,
    /// Operations of tensor cores, two a multiply-add.
    pub tensor_operations: u64,
    /// Bytes of global memory that lanes asked for.
    pub global_bytes: u64,
    /// Sectors of 32 bytes that their warps touched.
    pub global_sectors: u64,
    /// Passes of 128 bytes over shared memory, bank conflicts included.
    pub shared_passes: u64,
    /// The fewest passes that the same bytes could take.
    pub shared_passes_least: u64,
    /// Barriers passed, one a block.
    pub barriers: u64,
}

impl Profile {
    /// Adds the counts of another launch.
    pub fn add(&mut self, other: &Self) {
        self.warp_instructions += other.warp_instructions;
        for (mnemonic, count) in &other.by_mnemonic {
            *self.by_mnemonic.entry(mnemonic).or_default() += count;
        }
        self.tensor_operations += other.tensor_operations;
        self.global_bytes += other.global_bytes;
        self.global_sectors += other.global_sectors;
        self.shared_passes += other.shared_passes;
        self.shared_passes_least += other.shared_passes_least;
        self.barriers += other.barriers;
    }
}
