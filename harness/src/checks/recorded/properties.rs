//! Invariants of the tables, each a function of the tables it is given.

use std::collections::BTreeMap;

use models::batch::Batch;
use models::parameters::{Init, Role};
use models::parametrization::{Parametrization, Rule};

use super::Findings;
use super::subject::{Subject, resolve};
use super::trace::{self, train};
use crate::checks::thresholds::{self, Invariants};
use crate::config::model::ModelConfig;
use crate::config::train::TrainConfig;
use crate::error::{HarnessError, Result};
use crate::train::optimiser::{AdamConstants, AdamW, groups};
use crate::train::schedule::Schedule;

/// Tables that say the same in other words: each group trains alike, with heads of fixed width
/// where `true` (those tables differ in the attention scale). Tensor Programs V, lemma J.1.
pub const EQUIVALENT: [(&[&str], bool); 2] = [
    (
        &["mup-table8", "mup-table3", "mup-table9", "mean-field", "pt-2026-strict", "completep"],
        false,
    ),
    (&["standard-full-align", "ntk"], true),
];
/// Tables whose decay per step depends on width, as published.
pub const VARIABLE_SHRINKAGE: [&str; 1] = ["pt-2026"];

/// Parametrization tables by name.
#[derive(Debug, Clone)]
pub struct Tables(BTreeMap<String, Parametrization>);

impl Tables {
    /// The built-in tables.
    pub fn built_in() -> Result<Self> {
        let table = |name| Ok((String::from(name), Parametrization::built_in(name)?));
        Ok(Self(Parametrization::names().into_iter().map(table).collect::<Result<_>>()?))
    }

    /// The same with `table` in place of the one of its name.
    #[must_use]
    pub fn with(mut self, table: Parametrization) -> Self {
        self.0.insert(table.name.clone(), table);
        self
    }

    /// The table called `name`.
    pub fn get(&self, name: &str) -> Result<&Parametrization> {
        self.0.get(name).ok_or_else(|| {
            HarnessError::config(format!("no table '{name}'"), "crossscale explain lists them")
        })
    }

    /// All tables by name.
    pub fn iter(&self) -> impl Iterator<Item = &Parametrization> {
        self.0.values()
    }
}

/// A model with what it is trained on.
pub struct Trial<'a> {
    /// The model.
    pub model: &'a ModelConfig,
    /// The model at the base width.
    pub base: &'a ModelConfig,
    /// One step each.
    pub batches: &'a [Batch],
    /// Optimiser constants.
    pub train: &'a TrainConfig,
    /// Seed of the initial parameters.
    pub seed: u64,
}

fn invariants() -> &'static Invariants {
    &thresholds::committed().invariants
}

/// Quantities of a rule by name.
fn quantities(rule: &Rule) -> [(&'static str, f64); 5] {
    [
        ("init_std", rule.init_std_factor),
        ("forward", rule.forward_multiplier),
        ("learning_rate", rule.lr_multiplier),
        ("weight_decay", rule.weight_decay_multiplier),
        ("epsilon", rule.eps_multiplier),
    ]
}

/// At the base width `table` is `standard`, bit for bit: initial parameters, losses before and
/// after one step, parameters after it.
pub fn base_is_standard(tables: &Tables, table: &str, trial: &Trial) -> Result<Findings> {
    let run = |name: &str| -> Result<(Vec<f32>, Vec<f64>, Vec<f32>)> {
        let subject = Subject::new(trial.base, trial.base, tables.get(name)?)?;
        let initial = subject.initial(trial.seed)?;
        let mut parameters = initial.clone();
        let losses = train(&subject, &mut parameters, trial.batches, trial.train, |_, _| Ok(()))?;
        Ok((initial, losses, parameters))
    };
    let (left, right) = (run(table)?, run("standard")?);
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let mut findings = Findings::new();
    let family = trial.base.family();
    if bits(&left.0) != bits(&right.0) {
        findings.push(format!("{family}: initial parameters of {table} at its base width differ"));
    }
    if left.1.iter().zip(&right.1).any(|(a, b)| a.to_bits() != b.to_bits()) {
        findings.push(format!("{family}: losses of {table} at its base width differ"));
    }
    if bits(&left.2) != bits(&right.2) {
        findings.push(format!("{family}: parameters of {table} differ after training at the base"));
    }
    Ok(findings)
}

/// Losses of a training in f64 from initial values that are not rounded to f32.
pub fn losses_f64(table: &Parametrization, trial: &Trial) -> Result<Vec<f64>> {
    let subject = Subject::new(trial.model, trial.base, table)?;
    let mut parameters = vec![0f64; subject.layout.total()];
    for (position, spec) in subject.layout.specs().iter().enumerate() {
        let base = &subject.base_layout.specs()[subject.base_layout.counterpart(spec.name())?];
        let factor = match base.init() {
            Init::Normal(_) | Init::Sinusoids(_) => {
                subject.resolved.rules[position].init_std_factor
            }
            Init::Constant(_) => 1.0,
        };
        let mut values = vec![0f32; spec.count()];
        spec.clone().with_init(base.init()).initialise(&mut values, trial.seed, 1.0);
        let scaled = values.iter().map(|&value| f64::from(value) * factor);
        parameters[subject.layout.range(position)]
            .iter_mut()
            .zip(scaled)
            .for_each(|(parameter, value)| *parameter = value);
    }
    train(&subject, &mut parameters, trial.batches, trial.train, |_, _| Ok(()))
}

/// `left` and `right` give the same losses on `trial`, up to `invariants.equivalent_losses`. The
/// clip must be off: global norms are not the same in every form.
pub fn equivalent(tables: &Tables, (left, right): (&str, &str), trial: &Trial) -> Result<Findings> {
    assert!(trial.train.gradient_clip == 0.0, "clipping tells equivalent forms apart");
    let losses = [losses_f64(tables.get(left)?, trial)?, losses_f64(tables.get(right)?, trial)?];
    let gap = |(a, b): (&f64, &f64)| ((a - b) / a.abs().max(f64::MIN_POSITIVE)).abs();
    let worst = losses[0].iter().zip(&losses[1]).map(gap).fold(0.0, f64::max);
    if worst <= invariants().equivalent_losses.value {
        return Ok(Findings::new());
    }
    Ok(vec![format!(
        "{} width {}: losses of {left} and {right} differ by {worst:.1e}",
        trial.model.family(),
        trial.model.dimensions().width
    )])
}

/// Every factor from width `widths[0]` to `widths[2]` is the product of those over `widths[1]`,
/// for every tensor and quantity, sites and clip.
pub fn multiplier_algebra(
    table: &Parametrization,
    model: &ModelConfig,
    widths: [usize; 3],
) -> Result<Findings> {
    let factors = |from: usize, to: usize| -> Result<Vec<(String, f64)>> {
        let (model, base) = (model.at_width(to), model.at_width(from));
        let resolved = resolve(&model, &base, table)?;
        let (layout, base_layout) = (model.layout()?, base.layout()?);
        let mut factors = Vec::new();
        for (spec, rule) in layout.specs().iter().zip(&resolved.rules) {
            let scale =
                base_layout.specs()[base_layout.counterpart(spec.name())?].learning_rate_scale();
            for (quantity, value) in quantities(rule) {
                let own = if quantity == "learning_rate" { scale } else { 1.0 };
                factors.push((format!("{quantity} of {}", spec.name()), value / own));
            }
        }
        let sites = resolved.sites;
        factors.extend([
            ("attention logits".to_owned(), sites.attention_logits),
            ("belief".to_owned(), sites.belief),
            ("topic".to_owned(), sites.topic),
            ("message".to_owned(), sites.message),
            ("residual".to_owned(), sites.residual),
            ("tied logits".to_owned(), sites.tied_logits),
            ("gradient clip".to_owned(), resolved.gradient_clip_multiplier),
        ]);
        Ok(factors)
    };
    let [first, second, third] = widths;
    let (whole, left, right) =
        (factors(first, third)?, factors(first, second)?, factors(second, third)?);
    let wrong = whole.iter().zip(left.iter().zip(&right)).filter(|(whole, (left, right))| {
        (whole.1 / (left.1 * right.1) - 1.0).abs() > invariants().multiplier.value
    });
    Ok(wrong
        .map(|((name, value), (left, right))| {
            format!("{name}: {value} from {first} to {third}, {} x {} by {second}", left.1, right.1)
        })
        .collect())
}

/// The declared role of every tensor is the one its fans have when the width grows from `narrow`
/// to `wide` (Tensor Programs V: input = finite to growing, hidden = growing to growing, output =
/// growing to finite, vectors = one axis).
pub fn roles_by_shape(narrow: &ModelConfig, wide: &ModelConfig) -> Result<Findings> {
    let (small, large) = (narrow.layout()?, wide.layout()?);
    let mut findings = Findings::new();
    for (small, large) in small.specs().iter().zip(large.specs()) {
        let grows = (large.fan_in() > small.fan_in(), large.fan_out() > small.fan_out());
        let found = match (large.shape().len(), large.init(), grows) {
            (1, Init::Constant(value), _) if value != 0.0 => Role::Gain,
            (1, ..) => Role::Bias,
            (_, _, (false, true)) => Role::Input,
            (_, _, (true, false)) => Role::Output,
            (_, _, (true, true)) => Role::Hidden,
            (_, _, (false, false)) => {
                findings.push(format!("{} does not grow with width", large.name()));
                continue;
            }
        };
        if small.name() != large.name() || found != large.role() {
            findings.push(format!(
                "{}: declared {}, its shapes {:?} and {:?} say {found}",
                large.name(),
                large.role(),
                small.shape(),
                large.shape()
            ));
        }
    }
    Ok(findings)
}

/// Without gradients every tensor shrinks by the same factor at every width, at the peak rate
/// and at the floor of the schedule, which is the same share of the peak at every width.
pub fn shrinkage(
    table: &Parametrization,
    base: &ModelConfig,
    widths: &[usize],
    train: &TrainConfig,
) -> Result<Findings> {
    let mut findings = Findings::new();
    let mut first: Option<Vec<(String, f64, f64)>> = None;
    for &width in widths {
        let model = base.at_width(width);
        let subject = Subject::new(&model, base, table)?;
        let measured = shrinkage_by_tensor(&subject, train);
        let reference = first.get_or_insert_with(|| measured.clone());
        for ((name, peak, floor), (_, peak_here, floor_here)) in reference.iter().zip(&measured) {
            for (what, then, now) in [("peak", peak, peak_here), ("floor", floor, floor_here)] {
                if (now / then - 1.0).abs() > invariants().shrinkage.value {
                    findings.push(format!(
                        "{} {}: {name} shrinks by {then:.3e} a step at width {} and {now:.3e} at \
                         {width} ({what} rate)",
                        table.name,
                        base.family(),
                        widths[0]
                    ));
                }
            }
        }
    }
    Ok(findings)
}

/// Relative loss of each tensor in a step at the peak rate and in the last step.
fn shrinkage_by_tensor(subject: &Subject, train: &TrainConfig) -> Vec<(String, f64, f64)> {
    let groups = groups(&subject.layout, &subject.resolved, true);
    let starts: Vec<usize> = groups.iter().map(|group| group.range.start).collect();
    let mut optimiser = AdamW::<f64>::new(groups, AdamConstants::from(train));
    let schedule = Schedule::new(&train.schedule, train.steps);
    let mut parameters = vec![1f64; subject.layout.total()];
    let gradients = vec![0f64; parameters.len()];
    let mut losses = vec![(0f64, 0f64); starts.len()];
    for step in 0..=train.steps {
        let before: Vec<f64> = starts.iter().map(|&start| parameters[start]).collect();
        let rate = train.learning_rate * schedule.factor(step);
        optimiser.step(&mut parameters, &gradients, rate, 1.0);
        for ((loss, &start), before) in losses.iter_mut().zip(&starts).zip(before) {
            let lost = (before - parameters[start]) / before;
            *loss = (loss.0.max(lost), lost);
        }
    }
    let names = subject.layout.specs().iter().map(|spec| spec.name().to_owned());
    names.zip(losses).map(|(name, (peak, floor))| (name, peak, floor)).collect()
}

/// Standard deviation and mean of every tensor at initialisation are within so many standard
/// errors of what the rule says; constants are exact. The mean of sinusoids is what it is.
pub fn initial_deviation(subject: &Subject, seed: u64) -> Result<Findings> {
    let parameters = subject.initial(seed)?;
    let allowed = invariants().initial_standard_errors.value;
    let mut findings = Findings::new();
    for (position, (spec, rule)) in
        subject.layout.specs().iter().zip(&subject.resolved.rules).enumerate()
    {
        let values = &parameters[subject.layout.range(position)];
        let base = &subject.base_layout.specs()[subject.base_layout.counterpart(spec.name())?];
        if let Init::Constant(expected) = base.init() {
            if values.iter().any(|value| value.to_bits() != (expected as f32).to_bits()) {
                findings.push(format!("{} is not {expected} everywhere", spec.name()));
            }
            continue;
        }
        let count = values.len() as f64;
        let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
        let square = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>() / count;
        let std = square.sqrt();
        // Standard errors of a mean, and of a root mean square with known mean zero.
        let errors = (rule.init_std / count.sqrt(), rule.init_std / (2.0 * count).sqrt());
        let off = !matches!(base.init(), Init::Sinusoids(_)) && mean.abs() > allowed * errors.0;
        if off || (std - rule.init_std).abs() > allowed * errors.1 {
            findings.push(format!(
                "{}: mean {mean:.4}, deviation {std:.4} of {count} entries, rule {:.4}",
                spec.name(),
                rule.init_std
            ));
        }
    }
    Ok(findings)
}

/// Loss of `model` before training, in f64; `ln V` where the decoder starts at zero.
pub fn first_loss(
    table: &Parametrization,
    (model, base): (&ModelConfig, &ModelConfig),
    batch: &Batch,
    seed: u64,
) -> Result<f64> {
    let subject = Subject::new(model, base, table)?;
    let parameters: Vec<f64> =
        subject.initial(seed)?.iter().map(|&value| f64::from(value)).collect();
    trace::forward(&subject, &parameters, batch, &mut models::architecture::NoProbe)
}

/// The 2026 table gives the literal rules of its paper (N labels; arXiv 2604.25409, table 2, the
/// output rate and the growth of decay and clip as in its runs).
pub fn published_rules(table: &Parametrization) -> Result<Findings> {
    let template = models::pt2026::Pt2026Config { vocab: 50, width: 32, ..Default::default() };
    let base = ModelConfig::Pt(template);
    let tolerance = invariants().published_rule.value;
    let mut findings = Findings::new();
    for width in [32usize, 64, 256] {
        let model = base.at_width(width);
        let resolved = resolve(&model, &base, table)?;
        let (labels, ratio) = (width as f64, width as f64 / 32.0);
        for (spec, rule) in model.layout()?.specs().iter().zip(&resolved.rules) {
            let (std, rate) = match spec.role() {
                Role::Input => (1.0, 1.0),
                Role::Hidden => (labels.powf(-0.5), 1.0 / labels),
                Role::Output => (1.0 / labels, 1.0 / labels),
                Role::Bias | Role::Gain => (0.0, 1.0),
            };
            // The decoder's bias has V entries at every width: nothing of its own grows.
            let grows = spec.name() != "head.decoder.bias";
            let decay = if grows { ratio.powf(0.35) } else { 1.0 };
            let pairs = [
                ("initial deviation", rule.init_std, std),
                ("rate", rule.lr_multiplier, rate),
                ("forward multiplier", rule.forward_multiplier, 1.0),
                ("decay", rule.weight_decay_multiplier, decay),
                ("epsilon", rule.eps_multiplier, 1.0),
            ];
            for (what, found, expected) in pairs {
                if (found - expected).abs() > tolerance * expected.max(1.0) {
                    let name = spec.name();
                    findings.push(format!("{name} at {width}: {what} {found}, not {expected}"));
                }
            }
        }
        let sites = resolved.sites;
        let pairs = [
            ("belief", sites.belief, ratio),
            ("topic", sites.topic, ratio),
            ("head logits", sites.attention_logits, 1.0 / ratio),
            ("message", sites.message, 1.0),
            ("clip", resolved.gradient_clip_multiplier, ratio),
        ];
        for (what, found, expected) in pairs {
            if (found / expected - 1.0).abs() > tolerance {
                findings.push(format!("{what} at {width}: {found}, not {expected}"));
            }
        }
    }
    Ok(findings)
}
