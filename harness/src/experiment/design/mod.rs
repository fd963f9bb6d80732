//! The kinds of questions: each with its plan, what it gathers and what comes out, in one file.

pub mod ladder;
pub mod pair;
pub mod perturb;
pub mod protocol;
pub mod search;
pub mod transfer;
pub mod tuned;

use serde::Serialize;

use super::setting::Setting;
use crate::error::Result;
use crate::runs::record::RunRecord;
use crate::runs::source::{Gathered, RunSource};
use protocol::Protocol;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Design {
    /// Families at matched budgets.
    Ladder(ladder::Ladder),
    /// The same with the constants that a search found.
    Tuned(Box<tuned::Tuned>),
    /// Learning rate against width.
    Transfer(transfer::Transfer),
    /// Perturbed hyper-parameter sets at two widths.
    Perturb(perturb::Perturb),
    /// Two arms, paired by seed.
    Pair(pair::Pair),
    /// Equal search for every family at one budget.
    Search(search::Search),
}

/// What the finished runs of an experiment say.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Cells and searches of a ladder, tuned or not.
    Ladder(Box<ladder::Study>),
    /// Curves by parametrization and width.
    Transfer(transfer::TransferOutcome),
    /// Losses of every set at both widths.
    Perturb(perturb::PerturbOutcome),
    /// Losses of both arms.
    Pair(Box<pair::PairOutcome>),
    /// Trials of every family.
    Search(Box<search::SearchOutcome>),
}

impl Design {
    /// Names of the tables, one of which an experiment has.
    pub const NAMES: [&str; 6] = ["ladder", "tuned", "transfer", "perturb", "pair", "search"];

    /// Name of its table in a file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ladder(_) => "ladder",
            Self::Tuned(_) => "tuned",
            Self::Transfer(_) => "transfer",
            Self::Perturb(_) => "perturb",
            Self::Pair(_) => "pair",
            Self::Search(_) => "search",
        }
    }

    /// What it fixes before its first run.
    pub fn protocol(&self) -> &dyn Protocol {
        match self {
            Self::Ladder(design) => design,
            Self::Tuned(design) => design.as_ref(),
            Self::Transfer(design) => design,
            Self::Perturb(design) => design,
            Self::Pair(design) => design,
            Self::Search(design) => design,
        }
    }

    /// What the finished runs say and which are wanted next; models have `vocab` ids.
    pub fn gather(
        &self,
        setting: &Setting,
        vocab: usize,
        source: &dyn RunSource,
    ) -> Result<Gathered<Outcome>> {
        Ok(match self {
            Self::Ladder(design) => design.gather(setting, vocab, source)?.map(Outcome::ladder),
            Self::Tuned(design) => design.gather(setting, vocab, source)?.map(Outcome::ladder),
            Self::Transfer(design) => design.gather(setting, vocab, source)?.map(Outcome::Transfer),
            Self::Perturb(design) => design.gather(setting, vocab, source)?.map(Outcome::Perturb),
            Self::Pair(design) => {
                design.gather(setting, vocab, source)?.map(|found| Outcome::Pair(Box::new(found)))
            }
            Self::Search(design) => {
                design.gather(setting, vocab, source)?.map(|found| Outcome::Search(Box::new(found)))
            }
        })
    }
}

impl Outcome {
    fn ladder(study: ladder::Study) -> Self {
        Self::Ladder(Box::new(study))
    }

    /// Every finished run once, by id.
    pub fn runs(&self) -> Vec<&RunRecord> {
        let mut runs: Vec<&RunRecord> = match self {
            Self::Ladder(study) => study.runs().collect(),
            Self::Transfer(outcome) => outcome.runs().collect(),
            Self::Perturb(outcome) => outcome.runs().collect(),
            Self::Pair(outcome) => outcome.runs().collect(),
            Self::Search(outcome) => outcome.runs().collect(),
        };
        runs.sort_by(|a, b| a.id.cmp(&b.id));
        runs.dedup_by(|a, b| a.id == b.id);
        runs
    }

    /// What came out so far, in a few lines; none before there is a number.
    pub fn answer(&self) -> Result<Vec<String>> {
        match self {
            Self::Ladder(study) => ladder::rows::answer(study),
            Self::Transfer(outcome) => {
                Ok(outcome.runs().next().map(|_| outcome.describe()).into_iter().collect())
            }
            Self::Perturb(outcome) => Ok(outcome.describe().into_iter().collect()),
            Self::Pair(outcome) => outcome.answer(),
            Self::Search(outcome) => outcome.answer(),
        }
    }
}
