//! One parameter: name, shape, role, fans and its initial distribution at the base width.

use super::Role;
use crate::random::{Purpose, fill_normal};

/// Initial values of a parameter at the base width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// N(0, std²); the parametrization scales `std` with width.
    Normal(f64),
    /// The same value everywhere, whatever the width.
    Constant(f64),
    /// Sinusoids of the row's index (Vaswani et al. 2017, section 3.5) of root mean square `std`,
    /// which the parametrization scales as it scales a normal's: [`sinusoid`] times `sqrt(2) std`.
    Sinusoids(f64),
}

/// `sin(row / 10000^(2k/width))` in column 2k, the cosine in column 2k + 1.
///
/// The squares of a pair sum to one, so the root mean square of every row of an even width is
/// `sqrt(1/2)`; the last column of an odd width is a sine alone.
pub fn sinusoid(row: usize, column: usize, width: usize) -> f64 {
    let pair = (column / 2) as f64;
    let angle = row as f64 * 10_000f64.powf(-2.0 * pair / width as f64);
    if column.is_multiple_of(2) { angle.sin() } else { angle.cos() }
}

/// Description of a parameter. Only the role constructors build one, so a parameter without a
/// role cannot exist.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterSpec {
    name: String,
    shape: Vec<usize>,
    role: Role,
    fan_in: usize,
    fan_out: usize,
    init: Init,
    learning_rate_scale: f64,
    embedding: bool,
}

impl ParameterSpec {
    fn new(name: &str, shape: &[usize], role: Role, fans: (usize, usize), init: Init) -> Self {
        assert!(
            shape.iter().all(|&size| size > 0),
            "parameter {name} has an empty axis: {shape:?}"
        );
        Self {
            name: name.to_owned(),
            shape: shape.to_vec(),
            role,
            fan_in: fans.0,
            fan_out: fans.1,
            init,
            learning_rate_scale: 1.0,
            embedding: false,
        }
    }

    /// Lookup table `(entries, width)`: finite fan-in, fan-out `width`; counted as embedding.
    pub fn input(name: &str, entries: usize, width: usize, std: f64) -> Self {
        let mut spec =
            Self::new(name, &[entries, width], Role::Input, (entries, width), Init::Normal(std));
        spec.embedding = true;
        spec
    }

    /// Matrix `(fan_out, fan_in)` between axes that both grow with width.
    pub fn hidden(name: &str, fan_out: usize, fan_in: usize, std: f64) -> Self {
        Self::new(name, &[fan_out, fan_in], Role::Hidden, (fan_in, fan_out), Init::Normal(std))
    }

    /// Decoder matrix `(classes, width)`; counted as embedding.
    pub fn output(name: &str, classes: usize, width: usize, std: f64) -> Self {
        let mut spec =
            Self::new(name, &[classes, width], Role::Output, (width, classes), Init::Normal(std));
        spec.embedding = true;
        spec
    }

    /// Zero bias of `size` entries.
    pub fn bias(name: &str, size: usize) -> Self {
        Self::new(name, &[size], Role::Bias, (1, size), Init::Constant(0.0))
    }

    /// Unit gain of `size` entries.
    pub fn gain(name: &str, size: usize) -> Self {
        Self::new(name, &[size], Role::Gain, (1, size), Init::Constant(1.0))
    }

    /// Counts the parameter with the embeddings (the decoder's bias, for instance).
    #[must_use]
    pub fn counted_as_embedding(mut self) -> Self {
        self.embedding = true;
        self
    }

    /// Counts the parameter with the body although its role is input or output (a step table, a
    /// halting unit).
    #[must_use]
    pub fn counted_as_body(mut self) -> Self {
        self.embedding = false;
        self
    }

    /// Learning rate relative to the global one at the base width.
    #[must_use]
    pub fn with_learning_rate_scale(mut self, scale: f64) -> Self {
        self.learning_rate_scale = scale;
        self
    }

    /// Replaces the initial distribution at the base width.
    #[must_use]
    pub fn with_init(mut self, init: Init) -> Self {
        self.init = init;
        self
    }

    /// Replaces the shape, keeping role and fans (for factors stored with more than two axes).
    #[must_use]
    pub fn with_shape(mut self, shape: &[usize]) -> Self {
        assert_eq!(
            shape.iter().product::<usize>(),
            self.count(),
            "a new shape must hold as many entries as the old one"
        );
        self.shape = shape.to_vec();
        self
    }

    /// Unique dotted name, e.g. `head.dense.weight`.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Row-major shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
    /// Role under width scaling.
    pub fn role(&self) -> Role {
        self.role
    }
    /// Number of inputs summed into one output.
    pub fn fan_in(&self) -> usize {
        self.fan_in
    }
    /// Number of outputs fed by one input.
    pub fn fan_out(&self) -> usize {
        self.fan_out
    }
    /// Initial distribution at the base width.
    pub fn init(&self) -> Init {
        self.init
    }
    /// Learning rate relative to the global one at the base width.
    pub fn learning_rate_scale(&self) -> f64 {
        self.learning_rate_scale
    }
    /// Whether the parameter is left out of the non-embedding count.
    pub fn is_embedding(&self) -> bool {
        self.embedding
    }
    /// Number of entries.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The dimension whose growth defines this tensor's width ratio: fan-out for inputs and
    /// vectors, fan-in for hidden and output matrices.
    pub fn scaling_fan(&self) -> usize {
        match self.role {
            Role::Input | Role::Bias | Role::Gain => self.fan_out,
            Role::Hidden | Role::Output => self.fan_in,
        }
    }

    /// Writes initial values into `buffer`; `std_factor` is the parametrization's factor on the
    /// standard deviation of what is not constant.
    pub fn initialise(&self, buffer: &mut [f32], seed: u64, std_factor: f64) {
        assert_eq!(buffer.len(), self.count(), "buffer of {} does not fit", self.name);
        match self.init {
            Init::Constant(value) => buffer.fill(value as f32),
            Init::Normal(std) => {
                fill_normal(buffer, seed, Purpose::Initialisation, &self.name, std * std_factor);
            }
            Init::Sinusoids(std) => {
                let width = self.shape.last().copied().unwrap_or(1);
                let amplitude = std::f64::consts::SQRT_2 * std * std_factor;
                for (place, value) in buffer.iter_mut().enumerate() {
                    *value = (amplitude * sinusoid(place / width, place % width, width)) as f32;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_sinusoids_by_hand() {
        // Width 4: angles are the row and a hundredth of it.
        let table = ParameterSpec::input("p", 3, 4, 1.0).with_init(Init::Sinusoids(0.1));
        let mut values = [0f32; 12];
        table.initialise(&mut values, 7, 2.0);
        let root = 2f64.sqrt();
        for (row, values) in values.chunks(4).enumerate() {
            let x = row as f64;
            let expected = [x.sin(), x.cos(), (x / 100.0).sin(), (x / 100.0).cos()];
            for (value, expected) in values.iter().zip(expected) {
                assert!((f64::from(*value) - 0.2 * root * expected).abs() < 1e-7, "{values:?}");
            }
        }
    }

    #[test]
    fn invariant_sinusoids_have_the_root_mean_square_that_is_asked_for_in_every_row() {
        let table = ParameterSpec::input("p", 50, 24, 1.0).with_init(Init::Sinusoids(0.3));
        let mut values = vec![0f32; 50 * 24];
        table.initialise(&mut values, 1, 0.5);
        for row in values.chunks(24) {
            let square = row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / 24.0;
            assert!((square.sqrt() - 0.15).abs() < 1e-7, "{}", square.sqrt());
        }
        // No row is another one.
        let mut rows: Vec<Vec<u32>> =
            values.chunks(24).map(|row| row.iter().map(|v| v.to_bits()).collect()).collect();
        rows.sort();
        rows.dedup();
        assert_eq!(rows.len(), 50);
    }
}
