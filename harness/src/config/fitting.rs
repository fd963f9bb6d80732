//! Sizes that nobody gave, chosen so that they fit the ones that were.

use toml::{Table, Value};

use super::model::ModelConfig;
use super::overrides;
use super::run::BASE_WIDTH;

impl ModelConfig {
    /// The same model with a head width that divides its width, if it gives neither `heads` nor
    /// `head_dim` and the default head width does not. Where none of a similar size divides it,
    /// the model is left as it is, and its own check says what to do.
    #[must_use]
    pub fn with_fitting_heads(&self) -> Self {
        let (heads, head_dim, inner) = match self {
            Self::Bert(config) => (config.heads, config.head_dim, config.feed_forward_width),
            Self::Preln(config) => (config.heads, config.head_dim, config.feed_forward_width),
            Self::Ut(config) => (config.heads, config.head_dim, config.feed_forward_width),
            Self::Pt(_) | Self::Pt2023(_) => return self.clone(),
        };
        if heads.is_some() || head_dim.is_some() || self.layout().is_ok() {
            return self.clone();
        }
        self.with_shape(self.dimensions().width, inner).unwrap_or_else(|| self.clone())
    }

    /// The width closest to `width` (of two, the larger) that this model can have.
    pub fn nearest_width(&self, width: usize) -> Option<usize> {
        (0..=width)
            .flat_map(|distance| [width + distance, width - distance])
            .find(|&width| self.at_width(width).layout().is_ok())
    }
}

/// Completes a merged table of a run: a head width that divides the width, and a base width that
/// a model with these heads can have. What the table says itself is never changed. Gives back a
/// line for each choice.
pub(super) fn complete(family: &str, table: &mut Table) -> Vec<String> {
    let mut told = Vec::new();
    let Some(model) = table.get("model").and_then(|model| model.clone().try_into().ok()) else {
        return told;
    };
    let fitting = ModelConfig::with_fitting_heads(&model);
    if fitting != model {
        let head_dim = fitting.dimensions().head_dim;
        let width = fitting.dimensions().width;
        told.push(format!(
            "head width {head_dim}: the usual {} does not divide width {width} \
             (--set model.head_dim=N chooses)",
            baselines::DEFAULT_HEAD_DIM
        ));
        put(table, &["model", family, "head_dim"], head_dim);
    }
    let parametrization = table.get("parametrization").and_then(Value::as_table);
    let given = parametrization.is_some_and(|table| table.contains_key("base_width"));
    if given || table.contains_key("base") || fitting.layout().is_err() {
        return told;
    }
    if let Some(base) = fitting.nearest_width(BASE_WIDTH).filter(|&base| base != BASE_WIDTH) {
        told.push(format!(
            "base width {base}: the usual {BASE_WIDTH} is no width of a model with these heads \
             (--set parametrization.base_width=N chooses)"
        ));
        put(table, &["parametrization", "base_width"], base);
    }
    told
}

fn put(table: &mut Table, path: &[&str], value: usize) {
    // A value where a table belongs is told when the run is read.
    let _ = overrides::put(table, path, Value::Integer(value as i64));
}

#[cfg(test)]
mod tests {
    use crate::config::run::RunConfig;

    fn resolved(family: &str, text: &str) -> RunConfig {
        RunConfig::resolve(family, vec![toml::from_str(text).unwrap()], &[]).unwrap()
    }

    #[test]
    fn invariant_any_width_with_a_divisor_near_the_usual_head_width_is_possible() {
        for family in ["bert", "preln", "ut"] {
            for width in [36, 44, 48, 64, 90, 130, 200, 256] {
                let run = resolved(family, &format!("[model.{family}]\nwidth = {width}"));
                let head = run.model.dimensions().head_dim;
                assert_eq!(width % head, 0, "{family} {width}: {head}");
                assert!((21..=48).contains(&head), "{family} {width}: {head}");
                assert!(run.parametrization.base_width.abs_diff(256) <= head, "{family} {width}");
                run.parametrization.table().unwrap();
                run.standard_form().unwrap();
            }
        }
        // The divisors of 106 are 2 and 53.
        let none = RunConfig::resolve("bert", Vec::new(), &["model.width=106".to_owned()]);
        assert!(none.unwrap_err().to_string().contains("whole number of heads"));
    }

    #[test]
    fn invariant_what_is_given_is_never_changed() {
        let run = resolved("bert", "[model.bert]\nwidth = 64");
        let text = toml::to_string(&run).unwrap();
        assert!(!text.contains("head_dim") && text.contains("base_width = 256"), "{text}");
        let run = resolved("bert", "[model.bert]\nwidth = 44\nhead_dim = 44");
        assert_eq!(run.parametrization.base_width, 264);
        let text = "[model.bert]\nwidth = 44\nhead_dim = 44\n[parametrization]\nbase_width = 256";
        let refused = RunConfig::resolve("bert", vec![toml::from_str(text).unwrap()], &[]);
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("parametrization.base_width = 256"), "{message}");
        assert!(message.contains("set parametrization.base_width=264"), "{message}");
    }
}
