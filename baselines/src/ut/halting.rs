//! Adaptive computation time (Graves 2016) per token, as the Universal Transformer uses it
//! (Dehghani et al. 2019, section 2.2 and appendix C).

use candle_core::Tensor;
use models::error::Result;

/// Running sums of one forward pass. With halting probabilities `h_t`, a token halts at the first
/// step N where `h_1 + .. + h_N >= 1 - epsilon`, at the latest at the last step. Its output is
/// `sum_{t<N} h_t y_t + R y_N` with the remainder `R = 1 - sum_{t<N} h_t`, its cost `N + R`.
pub(super) struct Halting {
    epsilon: f64,
    /// `sum h_t` over the steps a token did not halt at, `(B, n)`.
    spent: Tensor,
    /// 1 while a token has not halted, `(B, n)`; no gradient.
    running: Tensor,
    /// `N + R` so far, `(B, n)`.
    cost: Tensor,
    /// Weighted sum of the states, `(B, n, D)`.
    output: Tensor,
}

impl Halting {
    /// Nothing computed yet; `like` is a state `(B, n, D)`.
    pub fn new(epsilon: f64, like: &Tensor) -> Result<Self> {
        let (sequences, length, _) = like.dims3()?;
        let zeros = Tensor::zeros((sequences, length), like.dtype(), like.device())?;
        Ok(Self {
            epsilon,
            running: zeros.ones_like()?,
            spent: zeros.clone(),
            cost: zeros,
            output: Tensor::zeros(like.shape(), like.dtype(), like.device())?,
        })
    }

    /// Takes one step with halting probabilities `(B, n)` that turned `before` into `after`
    /// `(B, n, D)`; `last` forces every token to halt. Returns the state of the next step: a
    /// halted token keeps its own.
    pub fn step(
        &mut self,
        probability: &Tensor,
        (before, after): (&Tensor, &Tensor),
        last: bool,
    ) -> Result<Tensor> {
        let dtype = probability.dtype();
        let continues = if last {
            self.running.zeros_like()?
        } else {
            let reached = (&self.spent + probability)?.detach();
            (reached.lt(1.0 - self.epsilon)?.to_dtype(dtype)? * &self.running)?
        };
        let halts = (&self.running - &continues)?;
        let remainder = (&halts * (1.0 - &self.spent)?)?;
        let taken = (&continues * probability)?;
        let weight = (&taken + &remainder)?.unsqueeze(2)?;
        self.output = (&self.output + after.broadcast_mul(&weight)?)?;
        self.cost = ((&self.cost + &self.running)? + &remainder)?;
        self.spent = (&self.spent + taken)?;
        let moved = self.running.unsqueeze(2)?.broadcast_as(after.shape())?;
        let state = moved.ne(0.0)?.where_cond(after, before)?;
        self.running = continues;
        Ok(state)
    }

    /// Whether every token has halted.
    pub fn finished(&self) -> Result<bool> {
        let left = self.running.sum_all()?.to_dtype(candle_core::DType::F64)?;
        Ok(left.to_scalar::<f64>()? <= 0.0)
    }

    /// Output states `(B, n, D)` and the mean cost over words, a scalar; `words` is 1 where a
    /// word stands, `(B, n)`.
    pub fn finish(self, words: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let cost = match words {
            None => self.cost.mean_all()?,
            Some(words) => ((self.cost * words)?.sum_all()? / words.sum_all()?)?,
        };
        Ok((self.output, cost))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    fn tensor(values: &[f64]) -> Tensor {
        Tensor::from_slice(values, (1, values.len()), &Device::Cpu).unwrap()
    }

    /// Runs two tokens with constant probabilities for four steps; state t is `10^t`.
    fn run(probabilities: [f64; 2]) -> (Vec<f64>, f64, Vec<f64>) {
        let state = |value: f64| {
            let ones = Tensor::ones((1, 2, 1), DType::F64, &Device::Cpu).unwrap();
            (ones * value).unwrap()
        };
        let mut halting = Halting::new(0.01, &state(0.0)).unwrap();
        let mut kept = state(1.0);
        for step in 0..4 {
            let after = state(10f64.powi(step));
            let probability = tensor(&probabilities);
            kept = halting.step(&probability, (&kept, &after), step == 3).unwrap();
        }
        assert!(halting.finished().unwrap());
        let (output, cost) = halting.finish(None).unwrap();
        let flat = |x: Tensor| x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        (flat(output), cost.to_scalar().unwrap(), flat(kept))
    }

    #[test]
    fn golden_halting_by_hand() {
        let (output, cost, kept) = run([0.4, 0.1]);
        // First token: .4 + .4 + .4 passes .99 at step 3, so N = 3 and R = .2.
        assert!((output[0] - (0.4 + 4.0 + 0.2 * 100.0)).abs() < 1e-12, "{output:?}");
        // Second token: forced to halt at step 4 with R = .7.
        assert!((output[1] - (0.1 + 1.0 + 10.0 + 0.7 * 1000.0)).abs() < 1e-9, "{output:?}");
        assert!((cost - f64::midpoint(3.2, 4.7)).abs() < 1e-12, "{cost}");
        assert_eq!(kept, [100.0, 1000.0]);
    }

    #[test]
    fn golden_a_token_sure_of_itself_takes_one_step() {
        let (output, cost, kept) = run([1.0, 0.995]);
        assert_eq!(output, [1.0, 1.0]);
        assert!((cost - 2.0).abs() < 1e-12);
        assert_eq!(kept, [1.0, 1.0]);
    }
}
