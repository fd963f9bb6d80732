//! A claim: what is said, which experiments judge it, by which rule and thresholds.

use serde::{Deserialize, Serialize};

use crate::error::{HarnessError, Result};
use crate::experiment::design::ladder::rows::SizeAxis;

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
    /// Shift slope, ratios and regret of the first parametrization; slope of the control.
    Transfer {
        /// Largest |k| of perfect transfer.
        slope_max: f64,
        /// The interval of k must stay within ± this.
        slope_interval_max: f64,
        /// Largest |log2 LR*(w) / LR*(base)|.
        ratio_max_octaves: f64,
        /// Largest regret that needs no excuse.
        regret_max_nats: f64,
        /// Smallest |k| of the control.
        control_slope_min: f64,
    },
    /// Rank correlation between widths and distance of the base point from the best set.
    Perturbation {
        /// Smallest rank correlation.
        correlation_min: f64,
        /// Largest distance of the base point from the best set.
        distance_max_nats: f64,
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
    /// Neither.
    Inconclusive,
    /// Runs that the rule needs are missing.
    Unfinished,
    /// No run yet.
    NotRun,
}

impl std::fmt::Display for ClaimVerdict {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Supported => "supported",
            Self::Contradicted => "contradicted",
            Self::Inconclusive => "inconclusive",
            Self::Unfinished => "unfinished",
            Self::NotRun => "not run",
        })
    }
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
    /// Runs behind it.
    pub runs: usize,
    /// What it would take to decide, for everything undecided.
    pub would_take: Option<String>,
}
