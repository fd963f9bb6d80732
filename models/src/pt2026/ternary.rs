//! The ternary factor: head posteriors and the two messages they carry.

use candle_core::{D, Tensor};

use super::{Pt2026Config, Rope};
use crate::architecture::TensorBatch;
use crate::error::Result;
use crate::layers::{self, RotaryTable};

/// The ternary factor for one batch: everything but U and V, which the caller holds.
pub struct TernaryFactor {
    channels: usize,
    rank: usize,
    weight: f64,
    logit_factor: f64,
    posterior_floor: Option<f64>,
    dependent_message: bool,
    rotary: Option<RotaryTable>,
    published: bool,
    mask: Tensor,
}

/// Projected beliefs and head posteriors of one iteration.
pub struct Heads {
    /// `R_i u_i`, `(B, C, n, r)`.
    pub u: Tensor,
    /// `R_j v_j`, `(B, C, n, r)`.
    pub v: Tensor,
    /// `u_j` before rotation, for the published message; the same as `u` without positions.
    pub u_unrotated: Tensor,
    /// Expected scores F times the logit factor, `(B, C, n, n)`; row = dependent.
    pub logits: Tensor,
    /// `p_ic(j)`, `(B, C, n, n)`; zero on the diagonal and wherever a word is padding.
    pub posterior: Tensor,
}

impl TernaryFactor {
    /// The factor of `config` for the shape and padding of `batch`; `like` gives type and device.
    /// `logit_scale` is the width-dependent factor on head logits.
    pub fn new(
        config: &Pt2026Config,
        logit_scale: f64,
        batch: &TensorBatch,
        like: &Tensor,
    ) -> Result<Self> {
        let rank = config.rank();
        let (dtype, device) = (like.dtype(), like.device());
        let rotary = match config.rope {
            Rope::None => None,
            Rope::Exact | Rope::Published => {
                Some(RotaryTable::new(batch.length, rank, config.rope_theta, dtype, device)?)
            }
        };
        Ok(Self {
            channels: config.channels,
            rank,
            weight: config.ternary_weight,
            logit_factor: logit_scale / config.lambda_h,
            posterior_floor: config.posterior_floor,
            dependent_message: config.dependent_message,
            rotary,
            published: config.rope == Rope::Published,
            mask: allowed_heads(batch, like)?,
        })
    }

    /// `p_ic(j) = softmax_j(R_i u_i . R_j v_j / r / lambda_h)` with `u = s_t U x`, `v = s_t V x`:
    /// `x` `(B, n, N)`, `u` and `v` `(C r, N)`.
    pub fn heads(&self, x: &Tensor, u: &Tensor, v: &Tensor) -> Result<Heads> {
        let u_unrotated = self.project(x, u)?;
        let v = self.project(x, v)?;
        let (u, v) = match &self.rotary {
            Some(rotary) => (rotary.rotate(&u_unrotated)?, rotary.rotate(&v)?),
            None => (u_unrotated.clone(), v),
        };
        let logits = (u.matmul(&v.transpose(2, 3)?.contiguous()?)? * self.logit_factor)?;
        let mask = match self.posterior_floor {
            Some(floor) => near_the_largest(&logits, &self.mask, floor)?,
            None => self.mask.clone(),
        };
        let posterior = layers::softmax(&logits, Some(&mask))?;
        Ok(Heads { u, v, u_unrotated, logits, posterior })
    }

    /// Messages to the labels, `(B, n, N)`:
    /// `s_t [ U^T R_i^-1 sum_j p_ij R_j v_j + V^T R_i^-1 sum_j p_ji R_j u_j ]`, the gradient of
    /// `sum p F` with respect to `x_i` for fixed p. The published form of the second term is
    /// `V^T R_i sum_j p_ji R_j^-1 u_j`.
    pub fn messages(&self, heads: &Heads, u: &Tensor, v: &Tensor) -> Result<Tensor> {
        let from_head = self.turn_back(&heads.posterior.matmul(&heads.v)?)?;
        let mut message = layers::linear(&merge(&from_head)?, &u.t()?, None)?;
        if self.dependent_message {
            let chosen = heads.posterior.transpose(2, 3)?.contiguous()?;
            let from_dependents = match &self.rotary {
                Some(rotary) if self.published => {
                    let turned = rotary.rotate_back(&heads.u_unrotated)?;
                    rotary.rotate(&chosen.matmul(&turned)?)?
                }
                _ => self.turn_back(&chosen.matmul(&heads.u)?)?,
            };
            let second = layers::linear(&merge(&from_dependents)?, &v.t()?, None)?;
            message = (message + second)?;
        }
        Ok((message * self.weight)?)
    }

    /// `s_t W x` `(B, n, C r)`, channel-major, as `(B, C, n, r)`.
    fn project(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let (sequences, length, _) = x.dims3()?;
        let projected = (layers::linear(x, weight, None)? * self.weight)?;
        let split = projected.reshape((sequences, length, self.channels, self.rank))?;
        Ok(split.transpose(1, 2)?.contiguous()?)
    }

    fn turn_back(&self, x: &Tensor) -> Result<Tensor> {
        match &self.rotary {
            Some(rotary) => rotary.rotate_back(x),
            None => Ok(x.clone()),
        }
    }
}

/// `(B, C, n, r)` back to `(B, n, C r)`.
fn merge(split: &Tensor) -> Result<Tensor> {
    let (sequences, channels, length, rank) = split.dims4()?;
    Ok(split.transpose(1, 2)?.reshape((sequences, length, channels * rank))?)
}

/// 1 where word i may choose head j, `(1 or B, 1, n, n)`: not itself, neither of them padding.
fn allowed_heads(batch: &TensorBatch, like: &Tensor) -> Result<Tensor> {
    let length = batch.length;
    let others: Vec<f32> = (0..length * length)
        .map(|entry| f32::from(u8::from(entry / length != entry % length)))
        .collect();
    let others = Tensor::from_vec(others, (1, 1, length, length), like.device())?;
    let others = others.to_dtype(like.dtype())?;
    let Some(words) = &batch.attention else { return Ok(others) };
    let dependents = words.reshape((batch.sequences, 1, length, 1))?;
    let heads = words.reshape((batch.sequences, 1, 1, length))?;
    Ok(dependents.broadcast_mul(&heads)?.broadcast_mul(&others)?)
}

/// `mask` without the heads whose share of a row's largest posterior is below `floor`, that is
/// `logit < max logit + ln floor`, `(B, C, n, n)`.
fn near_the_largest(logits: &Tensor, mask: &Tensor, floor: f64) -> Result<Tensor> {
    let mask = mask.broadcast_as(logits.shape())?;
    // Forbidden heads may not be the largest: subtract more than any logit from them.
    let allowed = (logits.detach() + mask.affine(1e30, -1e30)?)?;
    let smallest = (allowed.max_keepdim(D::Minus1)? + floor.ln())?;
    let near = allowed.broadcast_ge(&smallest)?.to_dtype(mask.dtype())?;
    Ok((near * mask)?)
}
