//! How far a matrix, or what it has learned, is aligned with what it reads.
//!
//! For outputs `y = M x` over a fan-in of `n` the ratio `rms(y) / (rms(M) rms(x))` is the root of n
//! if M and x are independent and n if every row of M points along x. Its slope over widths is
//! therefore the exponent that scaling rules assume: 1/2 without and 1 with alignment (Everett et
//! al. 2024). Maximal updates take 1 for what is learned; nothing is judged by it. Where the
//! fan-in does not grow with width (a rank, a number of topics) the slope says nothing and the
//! exponent at one width, `log_n` of the ratio, does: `rows.csv` has it as `l1`.

use candle_core::{DType, Device, Tensor};
use models::parameters::Layout;

use super::row::{Kind, Reading, Summary};

/// Matrices of a model by name, now and as they were at the start.
#[derive(Clone, Copy)]
pub struct Matrices<'a> {
    /// Where they lie in the buffers.
    pub layout: &'a Layout,
    /// Initial parameters.
    pub initial: &'a [f32],
    /// Parameters as the probe reads them.
    pub now: &'a [f32],
}

impl Matrices<'_> {
    /// `alignment/NAME` of the matrix and, unless this is the `first` pass, `alignment_delta/NAME`
    /// of its change since then, with the input of the moment. Forward multipliers cancel.
    pub fn readings(
        &self,
        name: &str,
        iteration: usize,
        input: &Tensor,
        first: bool,
    ) -> models::Result<Vec<Reading>> {
        let range = self.layout.range(self.layout.position(name)?);
        let (now, then) = (&self.now[range.clone()], &self.initial[range]);
        let mut readings = vec![reading(format!("alignment/{name}"), iteration, now, input)?];
        if !first {
            let change: Vec<f32> = now.iter().zip(then).map(|(now, then)| now - then).collect();
            let site = format!("alignment_delta/{name}");
            readings.push(reading(site, iteration, &change, input)?);
        }
        Ok(readings)
    }
}

fn reading(
    site: String,
    iteration: usize,
    matrix: &[f32],
    input: &Tensor,
) -> models::Result<Reading> {
    let (ratio, fan_in) = ratio(matrix, input)?;
    let exponent = Summary::scalar(ratio.ln() / (fan_in as f64).ln());
    Ok(Reading::new(site, iteration, Kind::Alignment, exponent, |_| ratio))
}

/// `rms(M x) / (rms(M) rms(x))` over all rows of `input`, (.., inputs), and the fan-in; NaN if
/// either factor is zero.
fn ratio(matrix: &[f32], input: &Tensor) -> models::Result<(f64, usize)> {
    let fan_in = input.dims().last().copied().unwrap_or(1);
    let values = input.to_dtype(DType::F32)?.flatten_all()?;
    let rows = values.elem_count() / fan_in;
    let shape = (matrix.len() / fan_in, fan_in);
    let matrix = Tensor::from_slice(matrix, shape, &Device::Cpu)?;
    let product = values.reshape((rows, fan_in))?.matmul(&matrix.t()?)?;
    let sizes = [&product, &matrix, &values].map(root_mean_square);
    let [product, matrix, input] = sizes;
    Ok((product? / (matrix? * input?), fan_in))
}

fn root_mean_square(tensor: &Tensor) -> models::Result<f64> {
    let values = tensor.flatten_all()?.to_vec1::<f32>()?;
    Ok(Summary::of(values.into_iter().map(f64::from)).rms)
}

#[cfg(test)]
mod tests {
    use models::random::{Purpose, Stream};

    use super::*;

    /// The exponent over two octaves of fan-in of a matrix and an input drawn by `draw`.
    fn exponent(draw: impl Fn(usize) -> (Vec<f32>, Vec<f32>)) -> f64 {
        let at = |fan_in: usize| {
            let (matrix, input) = draw(fan_in);
            let rows = input.len() / fan_in;
            let input = Tensor::from_vec(input, (1, rows, fan_in), &Device::Cpu).unwrap();
            let (ratio, found) = ratio(&matrix, &input).unwrap();
            assert_eq!(found, fan_in);
            ratio.log2()
        };
        (at(512) - at(128)) / 2.0
    }

    fn random(name: &str, count: usize) -> Vec<f32> {
        let mut stream = Stream::named(1, Purpose::Test, name, 0);
        (0..count).map(|_| stream.normal() as f32).collect()
    }

    #[test]
    fn invariant_independent_vectors_have_one_half_and_aligned_ones_one() {
        let independent = |n: usize| (random("matrix", 200 * n), random("input", 100 * n));
        let found = exponent(independent);
        assert!((found - 0.5).abs() < 0.01, "independent: {found}");
        // What a step of gradient descent adds: an outer product of errors and the input itself.
        let aligned = |n: usize| {
            let (input, errors) = (random("input", n), random("errors", 200));
            let matrix = errors.iter().flat_map(|e| input.iter().map(move |x| e * x)).collect();
            (matrix, input)
        };
        let found = exponent(aligned);
        assert!((found - 1.0).abs() < 1e-5, "aligned: {found}");
    }

    /// The ratio by its definition, in f64 and without tensors.
    fn by_hand(matrix: &[f32], input: &[f32], fan_in: usize) -> f64 {
        let rms = |values: &[f64]| {
            let squares: f64 = values.iter().map(|value| value * value).sum();
            (squares / values.len() as f64).sqrt()
        };
        let [matrix, input] = [matrix, input].map(|v| v.iter().map(|&v| f64::from(v)).collect());
        let (matrix, input): (Vec<f64>, Vec<f64>) = (matrix, input);
        let mut product = Vec::new();
        for x in input.chunks(fan_in) {
            let of_row = |row: &[f64]| row.iter().zip(x).map(|(m, x)| m * x).sum::<f64>();
            product.extend(matrix.chunks(fan_in).map(of_row));
        }
        rms(&product) / (rms(&matrix) * rms(&input))
    }

    #[test]
    fn invariant_readings_are_of_the_matrix_now_and_of_its_change_since_the_start() {
        use models::parameters::ParameterSpec;
        // Another tensor stands before it, and neither side is a square.
        let (fan_out, fan_in) = (6, 5);
        let specs = vec![
            ParameterSpec::bias("before", 7),
            ParameterSpec::hidden("read", fan_out, fan_in, 1.0),
        ];
        let layout = Layout::new(specs);
        let (initial, now) = (random("initial", layout.total()), random("now", layout.total()));
        let input = random("input", 3 * fan_in);
        let read = Tensor::from_slice(&input, (1, 3, fan_in), &Device::Cpu).unwrap();
        let matrices = Matrices { layout: &layout, initial: &initial, now: &now };

        let range = layout.range_of("read").unwrap();
        let change: Vec<f32> = range.clone().map(|at| now[at] - initial[at]).collect();
        let expected = [
            ("alignment/read", by_hand(&now[range], &input, fan_in)),
            ("alignment_delta/read", by_hand(&change, &input, fan_in)),
        ];
        for (first, count) in [(true, 1), (false, 2)] {
            let readings = matrices.readings("read", 4, &read, first).unwrap();
            assert_eq!(readings.len(), count, "what moved is unknown at first");
            for (reading, (site, ratio)) in readings.iter().zip(&expected) {
                assert_eq!((reading.site.as_str(), reading.iteration), (*site, 4));
                assert_eq!(reading.kind, Kind::Alignment);
                assert!((reading.statistic / ratio - 1.0).abs() < 1e-5, "{reading:?} {ratio}");
                let exponent = ratio.ln() / (fan_in as f64).ln();
                assert!((reading.summary.l1 - exponent.abs()).abs() < 1e-5, "{reading:?}");
                assert!((reading.summary.mean - exponent).abs() < 1e-5, "{reading:?}");
            }
        }
    }

    #[test]
    fn invariant_what_has_not_moved_has_no_alignment() {
        let input = Tensor::from_vec(random("input", 8), (2, 4), &Device::Cpu).unwrap();
        let still = reading("alignment_delta/x".to_owned(), 0, &[0.0; 12], &input).unwrap();
        assert!(still.statistic.is_nan());
    }
}
