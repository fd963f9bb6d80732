//! Every rule of a table changed in turn, and which checks notice.

pub mod coordinates;

use models::parametrization::{Parametrization, Resolved};

use super::recorded::cells::{self, Cell, CellData, Variant};
use super::recorded::golden::{self, CellRecord, Extent};
use super::recorded::properties::{self, EQUIVALENT, Tables, Trial, VARIABLE_SHRINKAGE};
use super::recorded::tables::{self, RecordedTables};
use super::recorded::{Findings, file, subject};
use crate::config::model::ModelConfig;
use crate::config::train::TrainConfig;
use crate::error::Result;
use crate::workers;
use coordinates::CoordinateBench;

/// One rule changed.
#[derive(Debug, Clone)]
pub struct Mutation {
    /// Which table.
    pub table: String,
    /// Which rule, e.g. `hidden.learning_rate`.
    pub rule: String,
    /// What became of it, e.g. `-1 -> 0`.
    pub change: String,
    /// How.
    pub kind: Kind,
}

/// Where a mutation acts.
#[derive(Debug, Clone)]
pub enum Kind {
    /// On an exponent.
    Exponent(Box<Parametrization>),
    /// On the resolved rules: what follows from exponents by code.
    Derived(fn(&mut Resolved)),
}

/// What is added to an exponent that is zero.
const ADDED_EXPONENT: f64 = 0.5;

/// All mutations of `table`: every exponent deleted (or, if it is zero, made one half), and every
/// rule that code derives from them.
pub fn mutations(table: &Parametrization) -> Result<Vec<Mutation>> {
    let mut mutations = Vec::new();
    for (rule, value) in table.exponents()? {
        let changed = if value == 0.0 { ADDED_EXPONENT } else { 0.0 };
        mutations.push(Mutation {
            table: table.name.clone(),
            change: format!("{value} -> {changed}"),
            kind: Kind::Exponent(Box::new(table.with_exponent(&rule, changed)?)),
            rule,
        });
    }
    mutations.extend(derived().map(|(rule, change, kind)| Mutation {
        table: table.name.clone(),
        rule: rule.to_owned(),
        change: change.to_owned(),
        kind: Kind::Derived(kind),
    }));
    Ok(mutations)
}

type Derived = (&'static str, &'static str, fn(&mut Resolved));

/// Rules that no exponent states, and slips that are made when applying those that do.
fn derived() -> [Derived; 5] {
    fn each(resolved: &mut Resolved, change: impl Fn(&mut models::parametrization::Rule)) {
        resolved.rules.iter_mut().for_each(change);
    }
    [
        ("derived: tied logits", "factor of a tied decoder left out", |resolved| {
            resolved.sites.tied_logits = 1.0;
        }),
        ("derived: init std", "variance scaled where the deviation is meant", |resolved| {
            each(resolved, |rule| {
                rule.init_std_factor = rule.init_std_factor.powi(2);
            });
        }),
        ("derived: rate by tensor", "every tensor learns at the global rate", |resolved| {
            each(resolved, |rule| rule.lr_multiplier = 1.0);
        }),
        ("derived: own width ratio", "all tensors take the rules of the first", |resolved| {
            if let Some(&first) = resolved.rules.first() {
                each(resolved, |rule| {
                    rule.eps_multiplier = first.eps_multiplier;
                    rule.weight_decay_multiplier = first.weight_decay_multiplier;
                    rule.init_std_factor = first.init_std_factor;
                });
            }
        }),
        ("derived: clip", "threshold not scaled with width", |resolved| {
            resolved.gradient_clip_multiplier = 1.0;
        }),
    ]
}

/// Checks of the matrix, in the order of its columns.
pub const CHECKS: [&str; 7] = [
    "recorded rules",
    "published rules",
    "shrinkage",
    "equivalent forms",
    "recorded initial values",
    "recorded training",
    "coordinate check",
];

/// What a check says about a mutation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It notices.
    Red,
    /// It does not.
    Green,
    /// It does not look at this table.
    NotApplied,
}

/// One row of the matrix.
#[derive(Debug, Clone)]
pub struct Row {
    /// The mutation.
    pub mutation: Mutation,
    /// One outcome per check of [`CHECKS`].
    pub outcomes: Vec<Outcome>,
    /// The sharpest finding of a check of behaviour, for people.
    pub evidence: String,
}

impl Row {
    /// Whether any check notices.
    pub fn guarded(&self) -> bool {
        self.outcomes.contains(&Outcome::Red)
    }

    /// Whether a check that runs the model notices, not only one that reads the rules.
    pub fn behavioural(&self) -> bool {
        self.outcomes[3..].contains(&Outcome::Red)
    }
}

/// What the checks compare with.
pub struct Bench {
    tables: Tables,
    data: CellData,
    recorded_tables: RecordedTables,
    recorded: Vec<CellRecord>,
    coordinates: Option<CoordinateBench>,
}

impl Bench {
    /// Reads what is recorded below `golden` and loads the data.
    /// `coordinates`: also measure slopes over width, which takes seconds per mutation.
    pub fn load(golden: &std::path::Path, coordinates: bool) -> Result<Self> {
        let mut recorded = Vec::new();
        for family in cells::FAMILIES {
            recorded.extend(file::read(golden, family)?.cell);
        }
        Ok(Self {
            tables: Tables::built_in()?,
            data: CellData::load()?,
            recorded_tables: tables::read(golden)?,
            recorded,
            coordinates: coordinates.then(CoordinateBench::new).transpose()?,
        })
    }

    /// All rows of `names`' tables, or those of rules with `part` in their name.
    pub fn matrix(&self, names: &[String], part: Option<&str>) -> Result<Vec<Row>> {
        workers::map(&self.changes(names, part)?, |mutation| self.row(mutation))
    }

    /// The mutations behind [`Bench::matrix`]: those that change anything.
    pub fn changes(&self, names: &[String], part: Option<&str>) -> Result<Vec<Mutation>> {
        let mut effective = Vec::new();
        for name in names {
            for mutation in mutations(self.tables.get(name)?)? {
                let wanted = part.is_none_or(|part| mutation.rule.contains(part));
                if wanted && self.changes_a_rule(&mutation)? {
                    effective.push(mutation);
                }
            }
        }
        Ok(effective)
    }

    /// Whether `mutation` gives any family with recorded cells another rule, recorded or not: a
    /// factor that is one everywhere cannot be left out.
    fn changes_a_rule(&self, mutation: &Mutation) -> Result<bool> {
        let Kind::Derived(change) = &mutation.kind else { return Ok(true) };
        let table = self.tables.get(&mutation.table)?;
        let own = self.recorded.iter().filter(|old| old.cell.table == mutation.table);
        for old in own {
            for variant in [Variant::Plain, Variant::Deep, Variant::Tied] {
                let cell = Cell { variant, ..old.cell.clone() };
                let (model, base) = cell.models(self.data.vocab)?;
                let resolved = subject::resolve(&model, &base, table)?;
                let mut changed = resolved.clone();
                change(&mut changed);
                if changed != resolved {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Applies every check to `mutation`.
    pub fn row(&self, mutation: &Mutation) -> Result<Row> {
        let changed = match &mutation.kind {
            Kind::Exponent(table) => Some(self.tables.clone().with((**table).clone())),
            Kind::Derived(_) => None,
        };
        let read = |check: &dyn Fn(&Tables) -> Result<Option<Findings>>| -> Result<Outcome> {
            let Some(tables) = &changed else { return Ok(Outcome::NotApplied) };
            Ok(match check(tables)? {
                None => Outcome::NotApplied,
                Some(findings) if findings.is_empty() => Outcome::Green,
                Some(_) => Outcome::Red,
            })
        };
        let name = mutation.table.as_str();
        let mut outcomes = vec![
            read(&|tables| Ok(Some(tables::compare(&self.recorded_tables, tables)?)))?,
            read(&|tables| match name {
                "pt-2026" => Ok(Some(properties::published_rules(tables.get(name)?)?)),
                _ => Ok(None),
            })?,
            read(&|tables| self.shrinkage(tables, name))?,
            read(&|tables| self.equivalence(tables, name))?,
        ];
        let (initial, trained, evidence) = self.recorded(mutation)?;
        let slopes = match (&self.coordinates, &mutation.kind) {
            (Some(bench), Kind::Exponent(table)) => bench.outcome(self.tables.get(name)?, table)?,
            _ => Outcome::NotApplied,
        };
        outcomes.extend([initial, trained, slopes]);
        Ok(Row { mutation: mutation.clone(), outcomes, evidence })
    }

    fn shrinkage(&self, tables: &Tables, name: &str) -> Result<Option<Findings>> {
        if VARIABLE_SHRINKAGE.contains(&name) {
            return Ok(None);
        }
        let base = cells::base("pt", self.data.vocab)?;
        let train = TrainConfig { steps: 5, weight_decay: 0.5, ..TrainConfig::default() };
        let widths = [cells::BASE_WIDTH, 2 * cells::BASE_WIDTH];
        Ok(Some(properties::shrinkage(tables.get(name)?, &base, &widths, &train)?))
    }

    fn equivalence(&self, tables: &Tables, name: &str) -> Result<Option<Findings>> {
        let Some((class, fixed_heads)) = EQUIVALENT.iter().find(|(class, _)| class.contains(&name))
        else {
            return Ok(None);
        };
        let other = class.iter().find(|other| **other != name).copied().unwrap_or(name);
        let mut findings = Findings::new();
        for family in ["pt", "preln"] {
            let mut base = cells::base(family, self.data.vocab)?;
            if *fixed_heads {
                match &mut base {
                    ModelConfig::Pt(config) => config.rank = Some(8),
                    ModelConfig::Preln(config) => {
                        (config.heads, config.head_dim) = (None, Some(8));
                    }
                    _ => {}
                }
            }
            let base = subject::with_depth(base, 1);
            let model = base.at_width(2 * cells::BASE_WIDTH);
            let cell = Cell {
                family: family.to_owned(),
                table: name.to_owned(),
                width: 2 * cells::BASE_WIDTH,
                variant: Variant::Plain,
            };
            let train = TrainConfig { gradient_clip: 0.0, ..cell.train() };
            let trial = Trial {
                model: &model,
                base: &base,
                batches: &self.data.training[..3],
                train: &train,
                seed: cells::SEED,
            };
            findings.extend(properties::equivalent(tables, (name, other), &trial)?);
        }
        Ok(Some(findings))
    }

    /// Initial values and training of the recorded cells of the mutated table.
    fn recorded(&self, mutation: &Mutation) -> Result<(Outcome, Outcome, String)> {
        let built_in = self.tables.get(&mutation.table)?;
        let keep: fn(&mut Resolved) = |_| {};
        let (table, change) = match &mutation.kind {
            Kind::Exponent(table) => (&**table, keep),
            Kind::Derived(change) => (built_in, *change),
        };
        let (mut initial, mut trained) = (Outcome::Green, Outcome::Green);
        let mut worst: Option<(f64, String)> = None;
        for old in self.recorded.iter().filter(|old| old.cell.table == mutation.table) {
            let mut new =
                golden::compute(&old.cell, table, &self.data, Extent::Reference, &change)?;
            // The fused path is not computed again: it is the reference path's to 1e-4.
            new.fused_losses_nats.clone_from(&old.fused_losses_nats);
            let differences = golden::compare(old, &new, false);
            for difference in differences.iter().filter(|difference| difference.outside) {
                if difference.what == "initial parameters" {
                    initial = Outcome::Red;
                    continue;
                }
                trained = Outcome::Red;
                let sharper = worst.as_ref().is_none_or(|(size, _)| difference.relative > *size);
                if sharper {
                    let text = format!(
                        "{}: {} {} -> {}",
                        difference.cell, difference.what, difference.old, difference.new
                    );
                    worst = Some((difference.relative, text));
                }
            }
            if trained == Outcome::Red {
                break;
            }
        }
        Ok((initial, trained, worst.map_or_else(String::new, |(_, text)| text)))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn invariant_a_factor_of_one_left_out_is_no_change() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden");
        let bench = Bench::load(&golden, false).unwrap();
        let rules = |table: &str| -> Vec<String> {
            let changes = bench.changes(&[table.to_owned()], Some("derived: ")).unwrap();
            changes.into_iter().map(|mutation| mutation.rule).collect()
        };
        // `standard` scales no clip and its tied decoder learns as fast as its token table.
        let standard = ["derived: init std", "derived: rate by tensor", "derived: own width ratio"];
        assert_eq!(rules("standard"), standard);
        assert_eq!(rules("pt-2026").len(), derived().len(), "every factor is another than one");
        let exponents = bench.changes(&["standard".to_owned()], Some(".learning_rate")).unwrap();
        assert!(!exponents.is_empty(), "an exponent changed is always counted");
    }
}
