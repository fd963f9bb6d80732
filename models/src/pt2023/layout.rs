//! Parameters: names, shapes, roles and initial distributions.

use super::config::{GlobalForm, Pt2023Config, TernaryForm};
use crate::error::Result;
use crate::parameters::{Init, Layout, ParameterSpec};

/// Ternary factors. Fan-in is the label axis; what is summed over the rank only has the rank.
/// U and V are N(0, 1/r), W too, a dense T is N(0, 1).
fn ternary(config: &Pt2023Config) -> Vec<ParameterSpec> {
    let (groups, width) = (config.distance_groups(), config.width);
    let (rank, channels) = (config.rank, config.channels);
    let std = 1.0 / (rank as f64).sqrt();
    let hidden = |name: &str, fan_in: usize, shape: &[usize], std: f64| {
        let fan_out = shape.iter().product::<usize>() / fan_in;
        ParameterSpec::hidden(name, fan_out, fan_in, std).with_shape(shape)
    };
    match config.ternary {
        TernaryForm::Uv => ["ternary_u", "ternary_v"]
            .map(|name| hidden(name, width, &[groups, width, rank, channels], std))
            .to_vec(),
        TernaryForm::Uvw => vec![
            hidden("ternary_u", width, &[groups, width, rank], std),
            hidden("ternary_v", width, &[groups, width, rank], std),
            hidden("ternary_w", rank, &[groups, channels, rank], std),
        ],
        TernaryForm::Dense => {
            vec![hidden("ternary", width, &[groups, width, width, channels], 1.0)]
        }
        TernaryForm::DistanceShared => {
            let shared = |name| hidden(name, width - 1, &[width - 1, rank, channels], std);
            let last = |name| hidden(name, rank, &[groups, rank], std);
            vec![
                shared("ternary_u_shared"),
                shared("ternary_v_shared"),
                last("ternary_u_last"),
                last("ternary_v_last"),
            ]
        }
    }
}

/// Scores of global features: N(0, 1/d), or two factors whose product has that size.
fn globals(config: &Pt2023Config) -> Vec<ParameterSpec> {
    let Some(globals) = &config.globals else { return Vec::new() };
    let (width, channels) = (config.width, config.global_channels());
    let (features, rank) = (globals.features, globals.rank);
    let by_width = 1.0 / (width as f64).sqrt();
    let factors = |u_std, v_std| {
        let u = ParameterSpec::hidden("global_u", features * channels, rank, u_std);
        let v = ParameterSpec::hidden("global_v", rank * channels, width, v_std);
        vec![u.with_shape(&[features, rank, channels]), v.with_shape(&[width, rank, channels])]
    };
    match globals.form {
        GlobalForm::Dense => {
            let table = ParameterSpec::hidden("global", features * channels, width, by_width);
            vec![table.with_shape(&[features, width, channels])]
        }
        GlobalForm::Product => {
            let std = by_width / (rank as f64).sqrt();
            factors(std, std)
        }
        GlobalForm::NormalisedProduct => factors(1.0, by_width),
    }
}

/// Parameters of the encoder, without the unary table and the decoder.
pub(super) fn encoder(config: &Pt2023Config) -> Vec<ParameterSpec> {
    let mut specs = ternary(config);
    specs.extend(globals(config));
    if let Some(labels) = config.root_labels {
        let (width, channels) = (config.width, config.channels);
        let table = ParameterSpec::hidden("root_ternary", labels * channels, width, 1.0);
        specs.push(table.with_shape(&[width, labels, channels]));
    }
    specs
}

/// All parameters of the masked language model.
///
/// The published unary table is uniform within `±sqrt(6/(V+d))` and the decoder (weight and bias)
/// within `±1/sqrt(d)`; here they are normal with the same standard deviations.
pub(super) fn model(config: &Pt2023Config) -> Result<Layout> {
    config.validate()?;
    let (vocab, width) = (config.vocab, config.width);
    let unary_std = (2.0 / (vocab + width) as f64).sqrt();
    let decoder_std = 1.0 / (3.0 * width as f64).sqrt();
    let entries = config.decoder_entries();
    let mut specs = vec![ParameterSpec::input("unary", vocab, width, unary_std)];
    specs.extend(encoder(config));
    specs.push(ParameterSpec::output("head.decoder.weight", entries, width, decoder_std));
    specs.push(
        ParameterSpec::bias("head.decoder.bias", entries)
            .with_init(Init::Normal(decoder_std))
            .counted_as_embedding(),
    );
    Ok(Layout::new(specs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::Role;
    use crate::pt2023::{GlobalConfig, GlobalDesign};

    #[test]
    fn golden_published_parameter_counts() {
        let ptb = Pt2023Config { predict_last_entry: false, ..Pt2023Config::default() };
        let layout = model(&ptb).unwrap();
        // 2 K d r h of section 4.2; totals with the unary table and the decoder.
        assert_eq!(layout.non_embedding(), 6_291_456);
        assert_eq!(layout.total(), 13_981_071);
        let bllip = Pt2023Config { vocab: 30_231, ..ptb };
        assert_eq!(model(&bllip).unwrap().total(), 29_538_710);
    }

    #[test]
    fn invariant_every_form_has_the_documented_shapes_and_roles() {
        let base = Pt2023Config {
            vocab: 11,
            width: 6,
            channels: 3,
            rank: 2,
            root_labels: Some(5),
            ..Pt2023Config::default()
        };
        let sizes = |ternary, globals| {
            let config = Pt2023Config { ternary, globals: Some(globals), ..base.clone() };
            let layout = model(&config).unwrap();
            let hidden = layout.specs().iter().filter(|spec| spec.role() == Role::Hidden);
            hidden.map(|spec| spec.shape().to_vec()).collect::<Vec<_>>()
        };
        let all = GlobalConfig { features: 4, rank: 7, ..GlobalConfig::default() };
        let first = GlobalConfig {
            design: GlobalDesign::FirstChannels,
            form: GlobalForm::NormalisedProduct,
            channels: 2,
            ..all
        };
        let root = vec![6, 5, 3];
        let dense = vec![vec![8, 6, 6, 3], vec![4, 6, 3], root.clone()];
        assert_eq!(sizes(TernaryForm::Dense, all), dense);
        let uvw = vec![vec![8, 6, 2], vec![8, 6, 2], vec![8, 3, 2]];
        let factors = vec![vec![4, 7, 2], vec![6, 7, 2], root];
        assert_eq!(sizes(TernaryForm::Uvw, first), [uvw, factors.clone()].concat());
        let shared = vec![vec![5, 2, 3], vec![5, 2, 3], vec![8, 2], vec![8, 2]];
        assert_eq!(sizes(TernaryForm::DistanceShared, first), [shared, factors].concat());
    }
}
