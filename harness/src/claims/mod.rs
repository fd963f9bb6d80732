//! Claims: what is said, which experiments judge it, by which rule; and what their runs make of
//! it. Adding a claim is adding a file to `harness/experiments/claims`.

mod arcs;
pub mod claim;
pub mod status;
pub mod verdicts;

use crate::error::Result;
use crate::experiment::{Experiment, registry};
use claim::Claim;

/// Every registered claim, by number: C10 comes after C9.
pub fn claims() -> Result<Vec<Claim>> {
    let claims = registry::claims().iter().map(|(name, text)| Claim::parse(name, text));
    let mut claims: Vec<Claim> = claims.collect::<Result<_>>()?;
    claims.sort_by(|a, b| (a.id.len(), &a.id).cmp(&(b.id.len(), &b.id)));
    Ok(claims)
}

/// Every registered experiment, in the order in which claims name them.
pub fn experiments() -> Result<Vec<Experiment>> {
    let names = registry::registered();
    let mut all: Vec<Experiment> =
        names.into_iter().map(Experiment::registered).collect::<Result<_>>()?;
    let named: Vec<String> = claims()?.into_iter().flat_map(|claim| claim.experiments).collect();
    let place = |experiment: &Experiment| {
        named.iter().position(|name| *name == experiment.name).unwrap_or(usize::MAX)
    };
    all.sort_by_key(place);
    Ok(all)
}

/// The claims that `experiment` judges: those that name an experiment of the same protocol. What
/// it is called decides nothing, so a changed copy of a registered file judges no claim.
pub fn judged_by(experiment: &Experiment) -> Result<Vec<Claim>> {
    let mut judged = Vec::new();
    for claim in claims()? {
        for name in &claim.experiments {
            if Experiment::registered(name)?.is_same_protocol(experiment) {
                judged.push(claim);
                break;
            }
        }
    }
    Ok(judged)
}
