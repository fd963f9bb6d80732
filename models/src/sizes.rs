//! Bounds on the sizes of a model.
//!
//! Nobody trains models of these sizes here, and within them no product of sizes (a tensor, a
//! parameter count, a cost) overflows 63 bits. A larger number in a configuration is a slip.

use crate::error::{ModelError, Result};

/// Vocabulary entries.
pub const VOCAB_MAX: usize = 1 << 24;
/// Width, inner width, topics, rank, positions.
pub const WIDTH_MAX: usize = 1 << 18;
/// Layers, iterations, steps.
pub const DEPTH_MAX: usize = 1 << 12;
/// Channels, heads, distance groups, features, and the rank of a factor with four axes.
pub const CHANNELS_MAX: usize = 1 << 12;

/// Checks `(name, size, largest)` of `model`: every size is at least 1 and at most `largest`.
///
/// # Errors
/// [`ModelError::Shape`] with the first size that is not.
pub fn check(model: &'static str, sizes: &[(&str, usize, usize)]) -> Result<()> {
    for &(name, size, largest) in sizes {
        let (problem, hint) = match size {
            0 => (format!("{name} is 0"), format!("use {name} = 1 or more")),
            _ if size > largest => {
                (format!("{name} is {size}"), format!("use {name} = {largest} or less"))
            }
            _ => continue,
        };
        return Err(ModelError::Shape { model, problem, hint });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_products_of_the_largest_sizes_fit() {
        let tensors = [
            vec![VOCAB_MAX, WIDTH_MAX],
            vec![CHANNELS_MAX, WIDTH_MAX, WIDTH_MAX],
            vec![CHANNELS_MAX, CHANNELS_MAX, CHANNELS_MAX, WIDTH_MAX],
            vec![DEPTH_MAX, 16, WIDTH_MAX, WIDTH_MAX],
        ];
        for sizes in tensors {
            let bits: u32 = sizes.iter().map(|size| size.trailing_zeros()).sum();
            assert!(bits < 60, "{sizes:?} is 2^{bits}");
        }
    }

    #[test]
    fn invariant_sizes_out_of_bounds_are_named() {
        check("pt", &[("width", WIDTH_MAX, WIDTH_MAX)]).unwrap();
        for (size, word) in [(0, "1 or more"), (WIDTH_MAX + 1, "262144 or less")] {
            let message = check("pt", &[("width", size, WIDTH_MAX)]).unwrap_err().to_string();
            assert!(message.contains("width is") && message.contains(word), "{message}");
        }
    }
}
