//! What a probe is told a matrix reads is what it reads: the alignment rows of the coordinate
//! check have no other source.
//!
//! The gradient of a matrix `y = M x` is a sum of outer products of errors and inputs, so its rows
//! lie in what the inputs span. With fewer tokens than inputs that is a small part of the space,
//! which another operand would not have: no line of the model is repeated here.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device, Tensor};
use harness::checks::recorded::cells;
use harness::checks::recorded::subject::architecture;
use models::architecture::{Architecture, Probe, TensorBatch, Weights};
use models::batch::{Batch, Target};
use models::gradient_check::autograd_gradients;
use models::parameters::Role;
use models::parametrization::SiteScales;
use models::random::{Purpose, Stream};

const VOCAB: usize = 7;
/// Words of the one sequence: times two layers or iterations less than the width of 32.
const LENGTH: usize = 4;
/// Share of a gradient's norm that rounding may leave outside the span.
const ROUNDING: f64 = 1e-9;
/// What another operand leaves outside at least.
const SEEN: f64 = 1e-2;

/// Inputs of every product by matrix, and the beliefs of every iteration.
#[derive(Default)]
struct Inputs {
    products: BTreeMap<String, Vec<(usize, Tensor)>>,
    beliefs: Vec<Tensor>,
}

impl Probe for Inputs {
    fn record(&mut self, site: &str, _: usize, value: &Tensor) -> models::Result<()> {
        if site == "belief" {
            self.beliefs.push(value.copy()?);
        }
        Ok(())
    }

    fn product(&mut self, name: &str, iteration: usize, input: &Tensor) -> models::Result<()> {
        let read = self.products.entry(name.to_owned()).or_default();
        read.push((iteration, input.copy()?));
        Ok(())
    }
}

fn batch() -> TensorBatch {
    let targets = [0, 2].map(|position| Target { position, label: 3 }).to_vec();
    let batch = Batch {
        ids: vec![1, 4, 2, 6],
        attention: None,
        targets,
        sequences: 1,
        length: LENGTH,
        dropout: None,
    };
    TensorBatch::new(&batch, DType::F64, &Device::Cpu).unwrap()
}

/// Random parameters of `model`, gradients of the mean loss by name, and what the probe was told.
fn observe(model: &dyn Architecture) -> (BTreeMap<String, Vec<f64>>, Inputs) {
    let mut stream = Stream::new(5, Purpose::Test, 0);
    let tensor = |spec: &models::parameters::ParameterSpec| {
        let offset = if spec.name().ends_with("norm.weight") { 1.0 } else { 0.0 };
        let values: Vec<f64> = (0..spec.count()).map(|_| offset + 0.5 * stream.normal()).collect();
        Tensor::from_vec(values, spec.shape(), &Device::Cpu).unwrap()
    };
    let parameters: Vec<Tensor> = model.layout().specs().iter().map(tensor).collect();
    let batch = batch();
    let mut inputs = Inputs::default();
    let weights = Weights::new(model.layout(), &parameters, None);
    model.target_losses(&weights, &batch, &mut inputs).unwrap();
    let gradients = autograd_gradients(&parameters, |parameters| {
        let weights = Weights::new(model.layout(), parameters, None);
        let (losses, _) = model.target_losses(&weights, &batch, &mut Inputs::default())?;
        Ok(losses.mean_all()?)
    });
    let names = model.layout().specs().iter().map(|spec| spec.name().to_owned());
    (names.zip(gradients.unwrap()).collect(), inputs)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `vector` less its part in the span of the orthonormal `basis`, twice for its rounding.
fn remainder(vector: &[f64], basis: &[Vec<f64>]) -> Vec<f64> {
    let mut rest = vector.to_vec();
    for direction in basis.iter().chain(basis) {
        let along = dot(&rest, direction);
        rest.iter_mut().zip(direction).for_each(|(rest, unit)| *rest -= along * unit);
    }
    rest
}

/// Share of the norm of `gradient`, rows of `n`, outside the span of the rows of `inputs`.
fn outside(gradient: &[f64], inputs: &[(usize, Tensor)]) -> f64 {
    let fan_in = inputs[0].1.dims().last().copied().unwrap();
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for (_, input) in inputs {
        let values: Vec<f64> = input.flatten_all().unwrap().to_vec1().unwrap();
        for row in values.chunks(fan_in) {
            let rest = remainder(row, &basis);
            let (size, of) = (dot(&rest, &rest).sqrt(), dot(row, row).sqrt());
            if size > ROUNDING * of {
                basis.push(rest.iter().map(|value| value / size).collect());
            }
        }
    }
    assert!(2 * basis.len() < fan_in, "{} directions of {fan_in} show nothing", basis.len());
    let rows = || gradient.chunks(fan_in).map(|row| remainder(row, &basis));
    (rows().map(|rest| dot(&rest, &rest)).sum::<f64>() / dot(gradient, gradient)).sqrt()
}

fn built(family: &str) -> Box<dyn Architecture> {
    let base = cells::base(family, VOCAB).unwrap();
    architecture(&base, &base, &SiteScales::BASE).unwrap()
}

#[test]
fn invariant_gradients_lie_in_what_the_probe_says_a_matrix_reads() {
    for family in ["bert", "preln", "ut", "pt", "ut-looped", "preln-qk-norm"] {
        let model = built(family);
        let (gradients, inputs) = observe(&*model);
        // U, V and B are written with as well, which is another part of their gradients.
        let read_only = |name: &&String| name.contains('.');
        let names: Vec<&String> = inputs.products.keys().filter(read_only).collect();
        assert!(names.len() >= 2, "{family}: {names:?}");
        for name in names {
            let share = outside(&gradients[name], &inputs.products[name]);
            assert!(share < ROUNDING, "{family} {name}: {share:e} outside of its inputs");
        }
    }
}

#[test]
fn invariant_the_gradient_of_another_matrix_lies_elsewhere() {
    let (gradients, inputs) = observe(&*built("preln"));
    let (own, other) = ("layers.0.attention.output.weight", "layers.0.attention.query.weight");
    let share = outside(&gradients[own], &inputs.products[other]);
    assert!(share > SEEN, "the span of {other} holds all but {share:e} of {own}");
}

#[test]
fn invariant_every_matrix_that_reads_is_named_once_a_layer() {
    for family in ["bert", "preln", "ut", "pt", "ut-looped", "preln-qk-norm"] {
        let model = built(family);
        let (_, inputs) = observe(&*model);
        let named: BTreeSet<&str> = inputs.products.keys().map(String::as_str).collect();
        let specs = model.layout().specs().iter();
        let reads = specs.filter(|spec| matches!(spec.role(), Role::Hidden | Role::Output));
        assert_eq!(named, reads.map(models::parameters::ParameterSpec::name).collect(), "{family}");
        for (name, read) in &inputs.products {
            let layers: BTreeSet<usize> = read.iter().map(|(layer, _)| *layer).collect();
            assert_eq!(layers.len(), read.len(), "{family}: {name} twice in a layer");
        }
    }
}

#[test]
fn invariant_factors_of_pt_read_the_beliefs() {
    let model = built("pt");
    let (_, inputs) = observe(&*model);
    assert_eq!(inputs.beliefs.len(), cells::BASE_DEPTH);
    for name in ["ternary_u", "ternary_v", "binary"] {
        let read = &inputs.products[name];
        assert_eq!(read.len(), cells::BASE_DEPTH);
        for (iteration, input) in read {
            let values =
                |tensor: &Tensor| -> Vec<f64> { tensor.flatten_all().unwrap().to_vec1().unwrap() };
            assert_eq!(values(input), values(&inputs.beliefs[*iteration]), "{name} {iteration}");
        }
    }
}
