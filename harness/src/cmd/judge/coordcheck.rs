//! `crossscale judge coordcheck`.

use super::Common;
use crate::checks::coordinates::Verdict;
use crate::error::{HarnessError, Result};
use crate::judge::coordcheck::{self, ACCEPT, Question};

/// Most failing sites named in the error message.
const NAMED: usize = 5;

/// Arguments of `judge coordcheck`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Columns: width, module (or site), step (or t), and a statistic such \
as l1, rms or std, as mup's get_coord_data and this program's rows.csv have them; optional seed, \
role, quantity, expected. Columns named …_act_abs_mean, or a folder of such logs with width and \
seed in their paths, are read as nanoGPT-mup writes them. Sites are expected to be flat unless a \
role or an expected slope is given.

Exit codes: 0 no site fails; 2 the table cannot be read; 10 a site fails.

Examples:
  crossscale judge coordcheck coord.csv --out runs/judged
  crossscale judge coordcheck nanogpt/out
  crossscale judge coordcheck coord.csv --statistic std --json")]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Column of the size that is judged [default: the first of l1, rms, l2, std, …]
    #[arg(long, value_name = "COLUMN")]
    statistic: Option<String>,
    /// Half-width of the band around the expected slope, per octave
    #[arg(long, value_name = "S", default_value_t = ACCEPT)]
    accept: f64,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let question = Question {
        accept: args.accept,
        statistic: args.statistic.clone(),
        mapping: args.common.mapping()?,
        selection: args.common.selection()?,
    };
    let table = coordcheck::read(&args.common.file, &question)?;
    let findings = coordcheck::judge(&table, &question);
    let page = coordcheck::document(&table, &findings, &question, &super::command())?;
    args.common.answer(&page, &coordcheck::json(&findings))?;
    let failing: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Fail)
        .map(|finding| finding.site.as_str())
        .collect();
    if failing.is_empty() {
        return Ok(());
    }
    let shown: Vec<&str> = failing.iter().take(NAMED).copied().collect();
    let more = if failing.len() > NAMED { ", …" } else { "" };
    Err(HarnessError::Invariant(format!(
        "{} of {} sites depend on width: {}{more}",
        failing.len(),
        findings.len(),
        shown.join(", ")
    )))
}
