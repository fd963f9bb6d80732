//! A claim: what is said, which experiments judge it, by which rule and thresholds.

use serde::{Deserialize, Serialize};

use crate::error::{HarnessError, Result};
use crate::experiment::design::ladder::rows::SizeAxis;
use crate::statistics::Interval;

/// A registered claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Short name, e.g. `C1`.
    pub id: String,
    /// What is said.
    pub statement: String,
    /// Experiments that judge it, each by itself.
    pub experiments: Vec<String>,
    /// The decision rule in words, printed beside every verdict.
    pub rule: String,
    /// The decision rule with its thresholds.
    pub test: Test,
    /// What a claim without experiment waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<String>,
}

/// How a claim is decided; the words are in [`Claim::rule`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Test {
    /// Shift slope of the first parametrization as an equivalence, with the others as controls.
    Transfer {
        /// Bound on |k|, see [`TransferRule`](crate::statistics::TransferRule).
        slope_max: f64,
    },
    /// Rank correlation between widths, held against that between seeds at one width.
    Perturbation {
        /// Share of its ceiling that the correlation must reach.
        ceiling_share_min: f64,
    },
    /// Candidate against baselines at every budget.
    Ladder {
        /// Family that is said to be better.
        candidate: String,
        /// Families it is compared with.
        baselines: Vec<String>,
    },
    /// Candidate against interpolated baselines on other axes.
    Axes {
        /// Family that is said to be better.
        candidate: String,
        /// Families it is compared with.
        baselines: Vec<String>,
        /// Axes of the comparison.
        axes: Vec<SizeAxis>,
    },
    /// Prediction of the largest budget from the others.
    PowerLaw {
        /// Family that is fitted.
        family: String,
        /// Largest |actual − predicted|.
        distance_max_nats: f64,
    },
    /// Directed attachment of the best channel, candidate against baselines, where both have the
    /// same loss.
    Arcs {
        /// Family that is said to be better.
        candidate: String,
        /// Families it is compared with.
        baselines: Vec<String>,
        /// The most that two evaluations may be apart between which a score is taken.
        gap_max_nats: f64,
        /// Errors that are nearer to each other are equal, as a share of arcs.
        margin: f64,
    },
    /// The candidate is better, or equal within the margin.
    AtLeastAsGood,
    /// The candidate is worse.
    Worse,
}

impl Claim {
    /// Reads a claim from TOML text; `origin` is named in errors.
    pub fn parse(origin: &str, text: &str) -> Result<Self> {
        let claim: Self = toml::from_str(text).map_err(|error| {
            HarnessError::config(
                format!("{origin}: {}", error.to_string().trim_end()),
                "a claim has id, statement, experiments, rule and [test]",
            )
        })?;
        if claim.experiments.is_empty() && claim.needs.is_none() {
            return Err(HarnessError::config(
                format!("{origin}: neither experiments nor needs"),
                "name the experiments that judge the claim, or say what it waits for",
            ));
        }
        Ok(claim)
    }
}

/// What the evidence says about a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClaimVerdict {
    /// The rule's conditions hold.
    Supported,
    /// The rule's counter-conditions hold.
    Contradicted,
    /// Decided both ways: better in some rows, worse in others.
    Mixed,
    /// Neither.
    Inconclusive,
    /// A side does not read its context: nothing was compared.
    Plateau,
    /// What had to be compared at equal loss was measured at none.
    UnequalLoss,
    /// Runs that the rule needs are missing, or all of them.
    Unfinished,
}

impl std::fmt::Display for ClaimVerdict {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Supported => "supported",
            Self::Contradicted => "contradicted",
            Self::Mixed => "mixed",
            Self::Inconclusive => "inconclusive",
            Self::Plateau => "plateau",
            Self::UnequalLoss => "unequal loss",
            Self::Unfinished => "unfinished",
        })
    }
}

/// What a verdict rests on, as one number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Effect {
    /// Value.
    pub value: f64,
    /// 95 % interval.
    pub interval: Option<Interval>,
    /// What it counts.
    pub unit: &'static str,
    /// Seeds behind it.
    pub seeds: usize,
}

/// A verdict with the numbers behind it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Claim.
    pub claim: String,
    /// Experiment; none for a claim that waits for one.
    pub experiment: Option<String>,
    /// Verdict by the claim's rule.
    pub verdict: ClaimVerdict,
    /// The deciding numbers with intervals and n, one line.
    pub number: String,
    /// The one number of the matrix.
    pub effect: Option<Effect>,
    /// Runs behind it.
    pub runs: usize,
    /// What it would take to decide, for everything undecided.
    pub would_take: Option<String>,
}
