//! Weights must be numbers: NaN and infinite entries are found before anything is done with them.

use models::parameters::Layout;

use crate::error::{HarnessError, Result};

/// Name of the first parameter of `layout` in whose `values` an entry is NaN or infinite.
pub fn first_bad<'a>(layout: &'a Layout, values: &[f32]) -> Option<&'a str> {
    let bad = |position: &usize| values[layout.range(*position)].iter().any(|v| !v.is_finite());
    let position = (0..layout.specs().len()).find(bad)?;
    Some(layout.specs()[position].name())
}

/// That all `values` of `layout`, which come from `origin`, are numbers; see [`check`].
pub fn check_all(origin: &str, layout: &Layout, values: &[f32]) -> Result<()> {
    let specs = layout.specs().iter().enumerate();
    let mut tensors = specs.map(|(position, spec)| (spec.name(), &values[layout.range(position)]));
    tensors.try_for_each(|(name, values)| check(origin, name, values))
}

/// That all `values` of `tensor`, which come from `origin`, are numbers.
///
/// # Errors
/// [`HarnessError::NotFinite`] with how many are not.
pub fn check(origin: &str, tensor: &str, values: &[f32]) -> Result<()> {
    match values.iter().filter(|value| !value.is_finite()).count() {
        0 => Ok(()),
        bad => Err(HarnessError::NotFinite {
            what: format!(
                "{origin}: tensor '{tensor}' has {bad} of {} entries that are NaN or infinite",
                values.len()
            ),
            hint: "a training that diverged leaves such weights; take those of an earlier \
                   checkpoint, or train again with a lower rate"
                .to_owned(),
        }),
    }
}

/// That something computed from weights that all are numbers is none.
pub fn computed(what: String) -> HarnessError {
    HarnessError::NotFinite {
        what,
        hint: "every weight is a number, but what the model computes from them is none: it \
               diverged, or a constant of the model is not the one it was trained with"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::ModelConfig;

    #[test]
    fn invariant_the_tensor_that_is_no_number_is_named() {
        let layout = ModelConfig::of_family("pt").unwrap().layout().unwrap();
        let mut values = vec![0f32; layout.total()];
        check_all("w", &layout, &values).unwrap();
        assert_eq!(first_bad(&layout, &values), None);
        for (position, spec) in layout.specs().iter().enumerate().rev() {
            let last = layout.range(position).end - 1;
            values[last] = f32::NEG_INFINITY;
            assert_eq!(first_bad(&layout, &values), Some(spec.name()));
            let error = check_all("w", &layout, &values).unwrap_err().to_string();
            let expected =
                format!("w: tensor '{}' has 1 of {}", spec.name(), layout.range(position).len());
            assert!(error.contains(&expected), "{error}");
        }
    }
}
