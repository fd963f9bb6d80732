//! The coordinate check as one check of the mutation matrix: small, without a control of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use models::parametrization::Parametrization;

use super::Outcome;
use crate::checks::coordinates::{Bench, LineKey, Plan, Tier, Verdict, judge};
use crate::error::Result;

/// Widths: four octaves are for verdicts on a table, three show that a rule was changed.
const WIDTHS: [usize; 4] = [32, 64, 128, 256];
/// Seeds.
const SEEDS: u64 = 3;
/// Steps at which the probe is run.
const STEPS: [u64; 4] = [0, 1, 3, 5];

/// Measures PT under the tables of the 2026 model and the pre-LN Transformer under all others.
pub struct CoordinateBench {
    pt: Bench,
    preln: Bench,
    /// Lines that fail under each table as it stands.
    failing: Mutex<BTreeMap<String, BTreeSet<LineKey>>>,
}

impl CoordinateBench {
    /// Loads the text. Heads of the pre-LN Transformer widen, so that their rule is seen.
    pub fn new() -> Result<Self> {
        let bench = |family: &str, sets: &[String]| -> Result<Bench> {
            let mut plan = Plan::new(family, Tier::Ci, sets)?;
            plan.widths = WIDTHS.to_vec();
            plan.steps = STEPS.to_vec();
            plan.seeds = SEEDS;
            Bench::new(plan, 1)
        };
        Ok(Self {
            pt: bench("pt", &[])?,
            preln: bench("preln", &["model.heads=2".to_owned()])?,
            failing: Mutex::new(BTreeMap::new()),
        })
    }

    fn bench(&self, table: &str) -> &Bench {
        if table.starts_with("pt-") { &self.pt } else { &self.preln }
    }

    fn fails(&self, table: &Parametrization) -> Result<BTreeSet<LineKey>> {
        let bench = self.bench(&table.name);
        let lines = judge(&bench.measure(table)?, bench.plan())?;
        Ok(lines.into_iter().filter(|l| l.verdict == Verdict::Fail).map(|l| l.key).collect())
    }

    /// Red if a line fails under `mutated` that does not fail under `sound`.
    pub fn outcome(&self, sound: &Parametrization, mutated: &Parametrization) -> Result<Outcome> {
        let failing = || self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = failing().get(&sound.name).cloned();
        let before = if let Some(known) = known {
            known
        } else {
            let lines = self.fails(sound)?;
            failing().insert(sound.name.clone(), lines.clone());
            lines
        };
        let new = self.fails(mutated)?;
        Ok(if new.is_subset(&before) { Outcome::Green } else { Outcome::Red })
    }
}
