//! Shapes, published counts and what is refused.

use super::*;
use crate::family::parametrise;
use crate::parameters::Role;
use crate::parametrization::Parametrization;

#[test]
fn golden_parameter_counts_of_the_six_published_sizes() {
    let published = [
        (256, 17_072_128),
        (512, 35_422_976),
        (1024, 76_056_832),
        (1536, 121_933_568),
        (2560, 229_415_680),
        (3840, 393_259_520),
    ];
    for (width, count) in published {
        let layout = Pt2026Config::default().at_width(width).layout().unwrap();
        assert_eq!(layout.total(), count, "N = {width}");
        let body = 10 * width * width + 3 * width;
        assert_eq!(layout.non_embedding(), body, "body at N = {width}");
    }
}

#[test]
fn invariant_a_toml_table_may_name_some_fields_and_no_unknown_one() {
    let config: Pt2026Config =
        toml::from_str("width = 64\nrope = \"published\"\n[initial]\nunary = 0.5").unwrap();
    let expected = Pt2026Config {
        width: 64,
        rope: Rope::Published,
        initial: InitialScales { unary: 0.5, ..InitialScales::default() },
        ..Pt2026Config::default()
    };
    assert_eq!(config, expected);
    assert!(toml::from_str::<Pt2026Config>("widht = 64").is_err());
}

#[test]
fn invariant_published_table_gives_the_published_literal_rules_at_every_width() {
    let base = Pt2026Config { vocab: 50, width: 32, ..Pt2026Config::default() };
    let table = Parametrization::built_in("pt-2026").unwrap();
    for width in [32, 64, 256] {
        let config = base.at_width(width);
        let built = parametrise(&config, &base, &table).unwrap();
        let width = width as f64;
        for (spec, rule) in config.layout().unwrap().specs().iter().zip(&built.resolved.rules) {
            let (std, rate) = match spec.role() {
                Role::Input => (1.0, 1.0),
                Role::Hidden => (width.powf(-0.5), 1.0 / width),
                Role::Output => (1.0 / width, 1.0 / width),
                Role::Bias | Role::Gain => (0.0, 1.0),
            };
            assert!((rule.init_std - std).abs() < 1e-15, "{}", spec.name());
            assert!((rule.lr_multiplier - rate).abs() < 1e-15, "{}", spec.name());
            assert!((rule.forward_multiplier - 1.0).abs() < 1e-15, "{}", spec.name());
        }
        let constants = built.model.constants();
        assert!((constants.belief - width).abs() < 1e-12);
        assert!((constants.topic - 4.0 * width).abs() < 1e-12);
        assert!((constants.head_logits - 4.0 / width).abs() < 1e-15);
    }
}

#[test]
fn invariant_impossible_shapes_are_refused_with_the_nearest_possible_values() {
    let base = Pt2026Config::default;
    let cases = [
        (Pt2026Config { width: 0, ..base() }, "width = 1"),
        (Pt2026Config { vocab: 0, ..base() }, "vocab = 1"),
        (Pt2026Config { topics: Some(0), ..base() }, "topics = 1"),
        (Pt2026Config { rank: Some(0), ..base() }, "rank = 2"),
        (Pt2026Config { rank: Some(5), ..base() }, "rank = 4 or 6"),
        (Pt2026Config { width: 100, ..base() }, "width = 96 or 104"),
        (Pt2026Config { width: 3, ..base() }, "width = 8"),
        (Pt2026Config { width: 6, rope: Rope::None, ..base() }, "width = 4 or 8"),
        (Pt2026Config { damping: 1.0, ..base() }, "damping"),
        (Pt2026Config { lambda_z: 0.0, ..base() }, "lambda_z"),
        (Pt2026Config { logit_multiplier: f64::NAN, ..base() }, "logit_multiplier"),
    ];
    for (config, hint) in cases {
        let message = config.layout().unwrap_err().to_string();
        assert!(message.contains(hint), "{message}");
    }
    Pt2026Config { rank: Some(5), rope: Rope::None, ..base() }.layout().unwrap();
}

#[test]
fn invariant_a_rank_share_follows_the_width_and_stays_even() {
    let share = |rank_share| Pt2026Config { rank_share: Some(rank_share), ..Default::default() };
    assert_eq!(share(0.25).at_width(48).rank(), 12, "a quarter is the usual rank");
    assert_eq!(share(0.375).at_width(48).rank(), 18);
    assert_eq!(share(0.375).at_width(96).rank(), 36);
    assert_eq!(share(0.1875).at_width(44).rank(), 8, "rounded to an even number");
    assert_eq!(share(0.001).at_width(48).rank(), 2, "never below one pair");
    for refused in [0.0, -1.0, 5.0, f64::NAN] {
        assert!(share(refused).layout().is_err(), "{refused}");
    }
    let both = Pt2026Config { rank: Some(8), ..share(0.25) };
    assert!(both.layout().unwrap_err().to_string().contains("without rank"));
}
