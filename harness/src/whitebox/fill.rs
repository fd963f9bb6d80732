//! What a model puts in the place of masks.

use candle_core::DType;
use models::architecture::NoProbe;

use super::masked::MaskedText;
use super::opened::Opened;
use crate::error::Result;

/// One token that may stand in a masked place.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Prediction {
    /// The token as text; a byte that is no text by itself as `<0xE2>`.
    pub token: String,
    /// Its probability among all entries of the vocabulary.
    pub probability: f64,
}

/// One masked place.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Filled {
    /// Place among the tokens of the text, from 0.
    pub position: usize,
    /// The likeliest tokens, falling; ties in order of their ids.
    pub predictions: Vec<Prediction>,
}

/// The `top` likeliest tokens of every mask in `text`. All masks are hidden at once: each is
/// predicted without knowledge of the others.
///
/// # Errors
/// If the text has no mask, too many tokens, or the model cannot run it.
pub fn fill(opened: &Opened, text: &str, top: usize) -> Result<Vec<Filled>> {
    let masked = MaskedText::parse(text, &opened.tokenizer)?;
    opened.check_length(masked.ids.len())?;
    let model = opened.model(DType::F32)?;
    let rows = model.predict(&masked.ids, &masked.positions, &mut NoProbe)?;
    let size = opened.tokenizer.vocabulary().size;
    let filled = |(&position, row): (&usize, Vec<f64>)| {
        let mut ids: Vec<usize> = (0..size).collect();
        ids.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        ids.truncate(top);
        let prediction = |id: usize| {
            let token = opened.tokenizer.token(id as u32)?;
            Ok(Prediction { token, probability: row[id] })
        };
        let predictions = ids.into_iter().map(prediction).collect::<Result<_>>()?;
        Ok(Filled { position, predictions })
    };
    masked.positions.iter().zip(rows).map(filled).collect()
}
