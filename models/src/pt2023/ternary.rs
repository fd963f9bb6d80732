//! The ternary potential: scores of (dependent's label, head's label) by distance and channel,
//! message F to the head variables and messages G to the labels.
//!
//! Every storage form is turned into two factors `U, V (K, d, h, R)` with
//! `T[k, a, b, c] = sum_l U[k,a,c,l] V[k,b,c,l]`, so one contraction serves all of them.

use candle_core::{DType, Device, Tensor};

use super::config::{Pt2023Config, TernaryForm};
use crate::architecture::Weights;
use crate::error::Result;

/// Added to a squared norm so that the norm has a gradient (zero) at zero.
const NORM_FLOOR: f64 = 1e-30;

/// Which pairs (dependent i, head j) belong to which distance group.
pub(super) struct DistanceGroups {
    /// 1 where the pair is in the group, `(K, 1, 1, n, n)`.
    membership: Tensor,
    /// 1 on the diagonal, `(1, 1, n, n)`.
    pub(super) self_pairs: Tensor,
}

impl DistanceGroups {
    /// Groups of a sequence of `length` words: heads to the right first, then to the left, each
    /// by increasing distance. The diagonal is in no group.
    pub(super) fn new(
        cuts: &[usize],
        length: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let mut cuts = cuts.to_vec();
        cuts.sort_unstable();
        let per_side = cuts.len() + 1;
        let group = |dependent: usize, head: usize| {
            let distance = dependent.abs_diff(head);
            let within_side = cuts.iter().filter(|&&cut| cut <= distance).count();
            within_side + if head > dependent { 0 } else { per_side }
        };
        let mut membership = vec![0f32; 2 * per_side * length * length];
        for dependent in 0..length {
            for head in (0..length).filter(|&head| head != dependent) {
                let row = group(dependent, head) * length + dependent;
                membership[row * length + head] = 1.0;
            }
        }
        let shape = (2 * per_side, 1, 1, length, length);
        let membership = Tensor::from_vec(membership, shape, device)?.to_dtype(dtype)?;
        let self_pairs = Tensor::eye(length, dtype, device)?.reshape((1, 1, length, length))?;
        Ok(Self { membership, self_pairs })
    }
}

/// The factors of T with the forward multipliers applied.
pub(super) struct Ternary {
    /// U as `(d, K h R)`.
    dependent: Tensor,
    /// V as `(d, K h R)`.
    head: Tensor,
    groups: usize,
    channels: usize,
    rank: usize,
}

/// Rank vectors of every word as dependent (`u = U^T q`) and as head (`v = V^T q`), each
/// `(K B h, n, R)`.
pub(super) struct Projections {
    pub(super) dependent: Tensor,
    pub(super) head: Tensor,
}

impl Ternary {
    /// Reads the parameters of `config`.
    pub(super) fn new(config: &Pt2023Config, w: &Weights) -> Result<Self> {
        let (groups, channels) = (config.distance_groups(), config.channels);
        let (width, rank) = (config.width, config.effective_rank());
        let shape = (groups, width, channels, rank);
        // (K, d, R, h) -> (K, d, h, R)
        let stored = |name: &str| Ok::<_, crate::ModelError>(w.get(name)?.permute((0, 1, 3, 2))?);
        let (dependent, head) = match config.ternary {
            TernaryForm::Uv => (stored("ternary_u")?, stored("ternary_v")?),
            TernaryForm::Dense => {
                let table = stored("ternary")?;
                let identity = Tensor::eye(width, table.dtype(), table.device())?;
                (table, identity.reshape((1, width, 1, width))?.broadcast_as(shape)?)
            }
            TernaryForm::Uvw => {
                let channel_weights = w.get("ternary_w")?.unsqueeze(1)?;
                let dependent = w.get("ternary_u")?.unsqueeze(2)?;
                let head = w.get("ternary_v")?.unsqueeze(2)?;
                (dependent.broadcast_mul(&channel_weights)?, head.broadcast_as(shape)?)
            }
            TernaryForm::DistanceShared => {
                let assemble = |shared: &str, last: &str| -> Result<Tensor> {
                    let shared = w.get(shared)?.permute((0, 2, 1))?.unsqueeze(0)?;
                    let shared = shared.broadcast_as((groups, width - 1, channels, rank))?;
                    let last = w.get(last)?.reshape((groups, 1, 1, rank))?;
                    let last = last.broadcast_as((groups, 1, channels, rank))?;
                    Ok(Tensor::cat(&[shared, last], 1)?)
                };
                (
                    assemble("ternary_u_shared", "ternary_u_last")?,
                    assemble("ternary_v_shared", "ternary_v_last")?,
                )
            }
        };
        let flat = |factor: Tensor| -> Result<Tensor> {
            let by_label = factor.permute((1, 0, 2, 3))?.contiguous()?;
            Ok(by_label.reshape((width, groups * channels * rank))?)
        };
        Ok(Self { dependent: flat(dependent)?, head: flat(head)?, groups, channels, rank })
    }

    /// Rank vectors of `beliefs` `(B, n, d)`.
    pub(super) fn project(&self, beliefs: &Tensor) -> Result<Projections> {
        let (sequences, length, width) = beliefs.dims3()?;
        let rows = beliefs.reshape((sequences * length, width))?;
        let read = |factor: &Tensor| -> Result<Tensor> {
            let shape = (sequences, length, self.groups, self.channels, self.rank);
            let vectors = rows.matmul(factor)?.reshape(shape)?;
            let vectors = vectors.permute((2, 0, 3, 1, 4))?.contiguous()?;
            Ok(vectors.reshape((self.groups * sequences * self.channels, length, self.rank))?)
        };
        Ok(Projections { dependent: read(&self.dependent)?, head: read(&self.head)? })
    }

    /// Message F: `F_ic(j) = sum_ab q_i(a) q_j(b) T[k(i,j), a, b, c]`, zero on the diagonal:
    /// `(B, h, n, n)`.
    pub(super) fn head_message(
        &self,
        words: &Projections,
        groups: &DistanceGroups,
    ) -> Result<Tensor> {
        let products = words.dependent.matmul(&words.head.t()?)?;
        let length = products.dim(1)?;
        let shape = (self.groups, (), self.channels, length, length);
        Ok(products.reshape(shape)?.broadcast_mul(&groups.membership)?.sum(0)?)
    }

    /// Message G to the labels `(B, n, d)` from posteriors `p` `(B, h, n, n)`: what word i hears
    /// from its heads, `sum_cjb p_ic(j) q_j(b) T[k(i,j), a, b, c]`, and unless
    /// `from_heads_only`, from its dependents, `sum_cjb p_jc(i) q_j(b) T[k(j,i), b, a, c]`.
    pub(super) fn label_message(
        &self,
        words: &Projections,
        posterior: &Tensor,
        groups: &DistanceGroups,
        from_heads_only: bool,
    ) -> Result<Tensor> {
        let (sequences, _, length, _) = posterior.dims4()?;
        let by_group = posterior.unsqueeze(0)?.broadcast_mul(&groups.membership)?;
        let by_group =
            by_group.reshape((self.groups * sequences * self.channels, length, length))?;
        let write = |vectors: Tensor, factor: &Tensor| -> Result<Tensor> {
            let shape = (self.groups, sequences, self.channels, length, self.rank);
            let vectors = vectors.reshape(shape)?.permute((1, 3, 0, 2, 4))?.contiguous()?;
            let rows = vectors.reshape((sequences * length, factor.dim(1)?))?;
            Ok(rows.matmul(&factor.t()?)?.reshape((sequences, length, factor.dim(0)?))?)
        };
        let from_heads = write(by_group.matmul(&words.head)?, &self.dependent)?;
        if from_heads_only {
            return Ok(from_heads);
        }
        let from_dependents = by_group.t()?.contiguous()?.matmul(&words.dependent)?;
        Ok((from_heads + write(from_dependents, &self.head)?)?)
    }

    /// `|T|_F` over all groups, labels and channels, a scalar: `|T_kc|^2` is the sum of the
    /// entrywise product of `U^T U` and `V^T V`, so T itself is never formed.
    pub(super) fn frobenius_norm(&self) -> Result<Tensor> {
        let gram = |factor: &Tensor| -> Result<Tensor> {
            let width = factor.dim(0)?;
            let columns = factor.reshape((width, self.groups * self.channels, self.rank))?;
            let columns = columns.permute((1, 0, 2))?.contiguous()?;
            Ok(columns.t()?.contiguous()?.matmul(&columns)?)
        };
        let squared = (gram(&self.dependent)? * gram(&self.head)?)?.sum_all()?;
        Ok((squared + NORM_FLOOR)?.sqrt()?)
    }
}
