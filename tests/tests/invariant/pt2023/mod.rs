//! Properties of the Probabilistic Transformer of 2023.

mod cases;
mod oracle;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use cases::Case;
use models::architecture::{Architecture, NoProbe, Probe, TensorBatch, Weights};
use models::batch::{Batch, DropoutKey, Target};
use models::engine::Engine;
use models::family::{FamilyConfig, parametrise};
use models::parameters::Init;
use models::parametrization::{Parametrization, SiteScales};
use models::pt2023::{
    GlobalConfig, GlobalDesign, GlobalForm, Pt2023Config, TernaryForm, UpdateOrder,
};
use models::random::{Purpose, Stream};
use models::reference::ReferenceEngine;

/// Asserts that `found` is `expected` up to rounding.
fn assert_near(found: &[f64], expected: &[f64], what: &str, case: &Case) {
    assert_eq!(found.len(), expected.len(), "{what} of {:?}", case.config);
    for (found, expected) in found.iter().zip(expected) {
        let scale = 1.0 + expected.abs();
        assert!(
            (found - expected).abs() < 1e-10 * scale,
            "{what}: {found} is not {expected}\n{:?}\nwords {:?}",
            case.config,
            case.words
        );
    }
}

#[test]
fn invariant_pt2023_agrees_with_the_update_equations_for_any_combination_of_options() {
    for index in 0..150 {
        let case = Case::random(index);
        let result = case.run();
        for sentence in 0..case.sequences {
            let expected = oracle::answer(&case, sentence);
            let labels = result.labels.get(sentence).unwrap().to_vec2::<f64>().unwrap();
            let posterior = result.head_posterior.get(sentence).unwrap().to_vec3::<f64>().unwrap();
            for word in (0..case.length).filter(|i| case.words[sentence * case.length + i]) {
                assert_near(&labels[word], &expected.labels[word], "labels", &case);
                for (found, expected) in posterior.iter().zip(&expected.posterior) {
                    let (found, rest) = found[word].split_at(expected[word].len());
                    assert_near(found, &expected[word], "posterior", &case);
                    assert!(rest.iter().all(|&belief| belief == 0.0), "{rest:?}");
                }
            }
            if let Some(root) = &result.root {
                let found = root.get(sentence).unwrap().flatten_all().unwrap();
                assert_near(&found.to_vec1().unwrap(), &expected.root, "root", &case);
            }
        }
    }
}

/// `sum(labels * cotangent) + sum(root * cotangent) + |T|_F` with fixed random cotangents; zero
/// for padding.
fn objective(case: &Case, parameters: &[Tensor], unary: &Tensor) -> models::Result<Tensor> {
    let result = case.run_with(parameters, unary, None)?;
    let mut stream = Stream::named(1, Purpose::Test, "pt2023.cotangent", 0);
    let mut cotangent = |shape: &[usize]| {
        let values: Vec<f64> = (0..shape.iter().product()).map(|_| stream.normal()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu)
    };
    let flags: Vec<f64> = case.words.iter().map(|&word| f64::from(u8::from(word))).collect();
    let flags = Tensor::from_vec(flags, (case.sequences, case.length, 1), &Device::Cpu)?;
    let labels = (&result.labels * cotangent(result.labels.dims())?)?.broadcast_mul(&flags)?;
    let mut sum = labels.sum_all()?;
    if let Some(root) = &result.root {
        sum = (sum + (root * cotangent(root.dims())?)?.sum_all()?)?;
    }
    match result.auxiliary {
        Some(auxiliary) => Ok((sum + auxiliary)?),
        None => Ok(sum),
    }
}

#[test]
fn invariant_pt2023_gradients_match_finite_differences_for_any_combination_of_options() {
    let step = 1e-6;
    for index in 1000..1040 {
        let mut case = Case::random(index);
        case.config.frobenius_coefficient = 0.5;
        let mut inputs = case.parameters.clone();
        inputs.push(case.unary.clone());
        let run = |inputs: &[Tensor]| {
            let (unary, parameters) = inputs.split_last().unwrap();
            objective(&case, parameters, unary).unwrap()
        };
        let variables: Vec<Var> = inputs.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
        let tensors: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
        let store = run(&tensors).backward().unwrap();
        for (which, variable) in variables.iter().enumerate() {
            let mut stream = Stream::named(index, Purpose::Test, "direction", which as u64);
            let entries = variable.elem_count();
            let direction: Vec<f64> = (0..entries).map(|_| stream.normal()).collect();
            let gradient = match store.get(variable) {
                Some(gradient) => gradient.flatten_all().unwrap().to_vec1::<f64>().unwrap(),
                None => vec![0.0; entries],
            };
            let exact: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
            let along = Tensor::from_vec(direction, variable.shape(), &Device::Cpu).unwrap();
            let at = |offset: f64| {
                let mut moved = inputs.clone();
                moved[which] = (&inputs[which] + (&along * offset).unwrap()).unwrap();
                run(&moved).to_scalar::<f64>().unwrap()
            };
            let difference = (at(step) - at(-step)) / (2.0 * step);
            let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            assert!(
                (exact - difference).abs() < 1e-6 * norm.max(1.0),
                "input {which}: {exact} by autograd, {difference} by differences\n{:?}",
                case.config
            );
        }
    }
}

#[test]
fn invariant_pt2023_padding_changes_nothing_for_the_words() {
    for index in 2000..2030 {
        let mut case = Case::random(index);
        case.words.fill(true);
        let alone = case.run();
        let extra = 1 + index as usize % 3;
        let width = case.config.width;
        let noise = Tensor::full(3.0, (case.sequences, extra, width), &Device::Cpu).unwrap();
        let unary = Tensor::cat(&[&case.unary, &noise], 1).unwrap();
        let rows = case.words.chunks(case.length);
        let words = rows.flat_map(|row| row.iter().copied().chain(vec![false; extra])).collect();
        let length = case.length;
        let padded = Case { unary, words, length: length + extra, ..case }.run();
        let labels = padded.labels.narrow(1, 0, length).unwrap();
        // A sentence of one word has no head but itself; its only message is the unary score.
        let gap = (labels - &alone.labels).unwrap().abs().unwrap().max_all().unwrap();
        assert!(gap.to_scalar::<f64>().unwrap() < 1e-10, "case {index}: {gap}");
    }
}

fn batch(vocab: usize, dropout: Option<DropoutKey>) -> Batch {
    let mut stream = Stream::new(5, Purpose::Test, 0);
    let (sequences, length) = (3, 6);
    let ids = (0..sequences * length).map(|_| stream.below(vocab as u64) as u32).collect();
    let attention = (0..sequences * length).map(|token| token != 11 && token != 17).collect();
    let target = |position| Target { position, label: position % (vocab as u32 - 1) };
    let targets = [0, 3, 7, 9, 12, 16].map(target).to_vec();
    Batch { ids, attention: Some(attention), targets, sequences, length, dropout }
}

/// A small model of every form, all options on.
fn small_models() -> Vec<Pt2023Config> {
    let ternary =
        [TernaryForm::Uv, TernaryForm::Uvw, TernaryForm::Dense, TernaryForm::DistanceShared];
    let globals = [
        (GlobalDesign::AllAttention, GlobalForm::Dense),
        (GlobalDesign::SplitAttention, GlobalForm::Product),
        (GlobalDesign::FirstChannels, GlobalForm::NormalisedProduct),
        (GlobalDesign::FirstChannels, GlobalForm::Dense),
    ];
    let orders = [UpdateOrder::Asynchronous, UpdateOrder::Synchronous];
    let model = |((ternary, (design, form)), order)| Pt2023Config {
        vocab: 9,
        width: 8,
        channels: 2,
        rank: 3,
        iterations: 3,
        ternary,
        order,
        globals: Some(GlobalConfig { design, form, features: 5, channels: 1, rank: 2 }),
        root_labels: Some(4),
        predict_last_entry: false,
        ..Pt2023Config::default()
    };
    let pairs = ternary.into_iter().zip(globals);
    pairs.flat_map(|pair| orders.map(|order| model((pair, order)))).collect()
}

fn engine(config: &Pt2023Config) -> (ReferenceEngine<models::pt2023::Pt2023>, Vec<f32>) {
    let table = Parametrization::built_in("standard").unwrap();
    let built = parametrise(config, config, &table).unwrap();
    let layout = config.layout().unwrap();
    let parameters = built.resolved.initialise(&layout, &built.base_layout, 3).unwrap();
    let engine = ReferenceEngine::new(built.model, built.resolved, DType::F32, Device::Cpu);
    (engine, parameters)
}

#[test]
fn invariant_pt2023_every_parameter_has_a_gradient() {
    for config in small_models() {
        let (mut engine, parameters) = engine(&config);
        let mut gradients = vec![f32::NAN; parameters.len()];
        let batch = batch(config.vocab, None);
        engine.loss_and_gradients(&parameters, &batch, &mut gradients).unwrap();
        let layout = config.layout().unwrap();
        for (position, spec) in layout.specs().iter().enumerate() {
            let gradient = &gradients[layout.range(position)];
            assert!(gradient.iter().all(|g| g.is_finite()), "{} of {config:?}", spec.name());
            assert!(gradient.iter().any(|&g| g != 0.0), "{} of {config:?}", spec.name());
        }
    }
}

#[test]
fn invariant_pt2023_dropout_is_reproducible_and_off_in_evaluation() {
    for config in small_models() {
        let (mut engine, parameters) = engine(&config);
        let mut losses =
            |dropout| engine.target_losses(&parameters, &batch(config.vocab, dropout)).unwrap();
        let key = DropoutKey { seed: 1, step: 7 };
        let dropped = losses(Some(key));
        assert_eq!(dropped, losses(Some(key)));
        assert_ne!(dropped, losses(Some(DropoutKey { step: 8, ..key })));
        assert_ne!(dropped, losses(None));
        assert_eq!(losses(None), {
            let without = Pt2023Config { dropout: 0.0, ..config.clone() };
            let (mut engine, _) = self::engine(&without);
            engine.target_losses(&parameters, &batch(config.vocab, Some(key))).unwrap()
        });
    }
}

/// Keeps what the encoder records.
#[derive(Default)]
struct Recorder(BTreeMap<(String, usize), Vec<f64>>);

impl Probe for Recorder {
    fn record(&mut self, site: &str, iteration: usize, value: &Tensor) -> models::Result<()> {
        let values = value.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        self.0.insert((site.to_owned(), iteration), values);
        Ok(())
    }
}

#[test]
fn invariant_pt2023_dropout_acts_on_head_posteriors_and_on_label_scores() {
    for config in small_models() {
        let config = Pt2023Config { dropout: 0.25, ..config };
        let model = config.model(&config, &SiteScales::BASE).unwrap();
        let (_, parameters) = engine(&config);
        let layout = model.layout();
        let stored = |(position, spec): (usize, &models::parameters::ParameterSpec)| {
            let values = &parameters[layout.range(position)];
            let tensor = Tensor::from_slice(values, spec.shape(), &Device::Cpu).unwrap();
            tensor.to_dtype(DType::F64).unwrap()
        };
        let tensors: Vec<Tensor> = layout.specs().iter().enumerate().map(stored).collect();
        let weights = Weights::new(layout, &tensors, None);
        let run = |dropout| {
            let batch = batch(config.vocab, dropout);
            let batch = TensorBatch::new(&batch, DType::F64, &Device::Cpu).unwrap();
            let mut recorder = Recorder::default();
            model.encode(&weights, &batch, &mut recorder).unwrap();
            recorder.0
        };
        let (plain, dropped) = (run(None), run(Some(DropoutKey { seed: 1, step: 7 })));
        // Up to the first head posterior both runs are the same; the scores follow from it.
        let first = |site: &str| (site.to_owned(), 0);
        let entries = |site: &str| {
            let pairs = plain[&first(site)].iter().copied().zip(dropped[&first(site)].clone());
            pairs.filter(|&(plain, _)| plain != 0.0).collect::<Vec<(f64, f64)>>()
        };
        // Within five standard errors: some hundred entries.
        let assert_rate = |entries: &[(f64, f64)]| {
            let kept = entries.iter().filter(|&&(_, dropped)| dropped != 0.0).count();
            let share = kept as f64 / entries.len() as f64;
            let error = 5.0 * (0.25f64 * 0.75 / entries.len() as f64).sqrt();
            assert!((share - 0.75).abs() < error, "{share} of {config:?}");
        };
        let posterior = entries("head_posterior");
        assert_rate(&posterior);
        for (plain, dropped) in posterior {
            assert!(dropped == 0.0 || (plain / 0.75 - dropped).abs() < 1e-7);
        }
        assert_rate(&entries("z"));
        let roots = &dropped[&first("root_scores")];
        assert!(roots.contains(&0.0) && roots.iter().any(|&z| z != 0.0));
    }
}

#[test]
fn golden_pt2023_frobenius_norm_at_initialisation() {
    // pt-2023: |T|_F ~ d sqrt(K h / r), 543 at the published sizes; here d = 24, K = 8, h = 4,
    // r = 16, relative spread over seeds below 2 %.
    let config = Pt2023Config {
        vocab: 9,
        width: 24,
        channels: 4,
        rank: 16,
        iterations: 1,
        ..Pt2023Config::default()
    };
    let (mut engine, parameters) = engine(&config);
    let mut gradients = vec![0.0; parameters.len()];
    let loss = engine.loss_and_gradients(&parameters, &batch(9, None), &mut gradients).unwrap();
    let expected = 24.0 * (8.0f64 * 4.0 / 16.0).sqrt();
    let norm = loss.auxiliary / 5e-4;
    assert!((norm / expected - 1.0).abs() < 0.1, "{norm}, expected about {expected}");
    let table = config.layout().unwrap();
    let u = table.position("ternary_u").unwrap();
    assert_eq!(table.specs()[u].init(), Init::Normal(0.25));
}

#[test]
fn invariant_pt2023_decoder_has_one_entry_less_where_the_mask_token_is_last() {
    let config = Pt2023Config {
        vocab: 9,
        width: 8,
        channels: 2,
        rank: 3,
        iterations: 1,
        predict_last_entry: false,
        ..Pt2023Config::default()
    };
    let model = config.model(&config, &SiteScales::BASE).unwrap();
    let specs = model.layout().specs();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F64, &Device::Cpu).unwrap();
    let tensors: Vec<Tensor> = specs.iter().map(|spec| zeros(spec.shape())).collect();
    let weights = Weights::new(model.layout(), &tensors, None);
    let batch = TensorBatch::new(&batch(9, None), DType::F64, &Device::Cpu).unwrap();
    let encoded = model.encode(&weights, &batch, &mut NoProbe).unwrap();
    assert_eq!(encoded.hidden.dims(), [3, 6, 8]);
    let rows = encoded.hidden.get(0).unwrap();
    assert_eq!(model.head(&weights, &rows, &mut NoProbe).unwrap().dims(), [6, 8]);
}
