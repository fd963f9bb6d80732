//! Table lookup.

use candle_core::Tensor;

use crate::error::Result;

/// Rows of `table` `(V, D)` at `ids` (u32, any shape): shape of `ids` followed by `D`.
pub fn embedding(table: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let mut shape = ids.dims().to_vec();
    shape.push(table.dim(1)?);
    Ok(table.index_select(&ids.flatten_all()?, 0)?.reshape(shape)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::gradient_check::{random_tensor, worst_relative_error};

    #[test]
    fn invariant_embedding_gradient_matches_finite_differences_with_repeated_ids() {
        let ids = Tensor::new(&[[0u32, 3, 3], [2, 0, 3]], &Device::Cpu).unwrap();
        let table = random_tensor("table", &[4, 5]).unwrap();
        let rows = embedding(&table, &ids).unwrap();
        assert_eq!(rows.dims(), [2, 3, 5]);
        let error = worst_relative_error(&[table], |x| embedding(&x[0], &ids)).unwrap();
        assert!(error < 1e-8, "relative error {error:e}");
    }
}
