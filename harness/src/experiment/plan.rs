//! Every run of a definition with its cost, before anything starts.

use std::fmt::Write;

use super::definition::Definition;
use super::study::{self, Ladder};
use crate::cost::plan::PlannedRuns;
use crate::error::Result;

/// All runs of `definition`, stage by stage.
pub fn plan(definition: &Definition, ladders: &[Ladder], vocab: usize) -> Result<Vec<PlannedRuns>> {
    let rule = &definition.search_rule;
    let fewest = 1 + 2 * rule.points_each_side.max(1);
    let mut rows = Vec::new();
    for ladder in ladders {
        let entry = definition.entry(&ladder.family)?;
        let train = definition.train_with(&entry.train)?;
        let context = (&definition.data, &train, definition.path);
        let name = &entry.parametrization;
        let range = (fewest, rule.points_max);
        let searched = study::searched(definition, ladder)?;
        for model in &ladder.models[searched.clone()] {
            rows.push(PlannedRuns::of("search", name, model, range, context)?);
        }
        for (index, model) in ladder.models.iter().enumerate() {
            let mut count = definition.seeds as usize;
            if searched.contains(&index) && (1..=definition.seeds).contains(&rule.seed) {
                count -= 1; // the winning search run is this cell's run of the same seed
            }
            rows.push(PlannedRuns::of("ladder", name, model, (count, count), context)?);
        }
    }
    if let Some(transfer) = &definition.transfer {
        let entry = definition.entry(&transfer.family)?;
        let mut over = entry.train.clone();
        crate::config::overrides::merge(&mut over, transfer.train.clone());
        let train = definition.train_with(&over)?;
        let template = definition.template(&transfer.family, None, vocab)?;
        for (rank, name) in transfer.parametrizations.iter().enumerate() {
            for &width in transfer.widths.iter().skip(usize::from(rank > 0)) {
                let seeds = transfer.seeds as usize;
                let range = (fewest * seeds, rule.points_max * seeds);
                let context = (&definition.data, &train, definition.path);
                rows.push(PlannedRuns::of(
                    "transfer",
                    name,
                    &template.at_width(width),
                    range,
                    context,
                )?);
            }
        }
    }
    Ok(rows)
}

/// Where `definition` parts from the published recipe, one line each; empty without any.
pub fn deviations(definition: &Definition) -> String {
    if definition.deviations.is_empty() {
        return String::new();
    }
    let mut text = "\n\ndeviations from the published recipe".to_owned();
    for deviation in &definition.deviations {
        write!(text, "\n- {deviation}").expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::compute::DeviceKind;
    use crate::cost::plan::SpeedBasis;
    use crate::cost::plan_text::{roles, shapes};

    #[test]
    fn invariant_a_plan_keeps_its_lines_in_narrow_terminals() {
        for (name, vocab) in [("quick", 512), ("paper", 32_000)] {
            let definition = Definition::preset(name).unwrap();
            let ladders = study::ladders(&definition, vocab).unwrap();
            let rows = plan(&definition, &ladders, vocab).unwrap();
            for device in [DeviceKind::Cpu, DeviceKind::Cuda] {
                let basis =
                    SpeedBasis { flops_per_second: 1e9, explanation: "x".to_owned(), device };
                let (shapes, roles) = (shapes(&rows, &basis).unwrap(), roles(&rows).unwrap());
                // A line for each row, and of what is left out, instead of a block for each.
                assert!(shapes.to_text_within(60).lines().count() <= rows.len() + 2);
                assert_eq!(roles.to_text_within(80), roles.to_text());
            }
        }
    }
}
