//! Whether the weights were trained on what they are evaluated on.

use crate::config::data::DataConfig;
use crate::corpus::overlap::{Repeated, trained_on};
use crate::corpus::{self, Split};
use crate::error::Result;

/// Says that a run's own text is another one now, so that nothing is known of its parts.
pub fn changed() -> Option<f64> {
    tracing::warn!(
        "the text has changed since the run was trained: this is another text, and what is held \
         out of it now may have been trained on"
    );
    None
}

/// Says how much of `split` of the text of `data` was trained on, and gives the share back; `None`
/// if that is not known. `training`: where the text of training lies, where that is known.
///
/// The text of training is read again for this: a fingerprint tells equal texts, not common parts.
pub fn told(training: Option<&DataConfig>, data: &DataConfig, split: Split) -> Option<f64> {
    let Some(training) = training else {
        tracing::warn!(
            "this is not the text that these weights were trained on, but may be a part of it: a \
             file of weights does not keep that text, the run folder says where it lies"
        );
        return None;
    };
    match shared(training, data, split) {
        Ok(None) => Some(0.0),
        Ok(Some(Repeated { share, line })) => {
            tracing::warn!("{line}");
            Some(share)
        }
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.lines().next().unwrap_or_default();
            tracing::warn!(
                "this is another text than that of training; whether it was a part of that is not \
                 known: {reason}"
            );
            None
        }
    }
}

fn shared(training: &DataConfig, data: &DataConfig, split: Split) -> Result<Option<Repeated>> {
    let evaluated = corpus::documents(data)?;
    let held_out = match split {
        Split::Train => evaluated.train,
        Split::Validation => evaluated.validation,
        Split::Test => evaluated.test,
    };
    Ok(trained_on(&corpus::documents(training)?.train, &held_out))
}
