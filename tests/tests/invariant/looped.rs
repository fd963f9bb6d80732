//! The looped control and QK-norm: gradients, padding, positions, and the models that they must be
//! where their options meet others.

use baselines::blocks::{Activation, PositionStart, Positions};
use baselines::{PreLnConfig, ResidualScale, UtConfig};
use candle_core::{Device, Tensor};
use harness::config::model::ModelConfig;
use models::architecture::{Architecture, Weights};
use models::error::ModelError;
use models::family::{FamilyConfig, parametrise};
use models::layers;
use models::parametrization::{Parametrization, SiteScales};
use models::random::{Purpose, Stream};

use super::baselines::{
    batch, check_gradients, check_padding, check_relative_positions, largest_gap, logits, preln,
    random_parameters, ut,
};

/// All options of the looped control on.
fn looped(config: &UtConfig) -> UtConfig {
    UtConfig {
        positions: Positions::Rotary,
        injection: true,
        residual_scale: ResidualScale::InverseSteps,
        width: 4,
        heads: Some(2),
        ..config.clone()
    }
}

#[test]
fn invariant_looped_gradients_match_finite_differences() {
    for (seed, halting) in (0..).zip([false, false, true]) {
        let config = ut(&mut Stream::new(seed, Purpose::Test, 13), halting);
        check_gradients(&looped(&config), true, seed);
        if !halting {
            check_gradients(&UtConfig { injection: true, ..config.clone() }, false, seed);
            let rotary = UtConfig { injection: false, ..looped(&config) };
            check_gradients(&rotary, true, seed);
            let scaled = UtConfig { residual_scale: ResidualScale::InverseSteps, ..config };
            check_gradients(&scaled, false, seed);
        }
    }
}

#[test]
fn invariant_qk_norm_gradients_match_finite_differences() {
    let options = [(Activation::Gelu, true), (Activation::Swiglu, false)];
    for (seed, (activation, biases)) in (0..).zip(options) {
        let config = preln(&mut Stream::new(seed, Purpose::Test, 14));
        check_gradients(&PreLnConfig { activation, biases, qk_norm: true, ..config }, true, seed);
    }
}

#[test]
fn invariant_padding_changes_nothing_in_a_loop_and_behind_qk_norm() {
    for seed in 0..3 {
        let mut stream = Stream::new(seed, Purpose::Test, 15);
        check_padding(&looped(&ut(&mut stream, false)), seed);
        check_padding(&looped(&ut(&mut stream, true)), seed);
        check_padding(&PreLnConfig { qk_norm: true, ..preln(&mut stream) }, seed);
    }
}

#[test]
fn invariant_a_loop_with_rotary_positions_sees_relative_positions_only() {
    let mut stream = Stream::new(1, Purpose::Test, 16);
    let config = UtConfig { max_length: 1, ..looped(&ut(&mut stream, false)) };
    check_relative_positions(&config, &mut stream);
}

/// What separates the control from the pre-LN Transformer is that its layers are one: with the
/// same weights in every layer, embeddings as they leave the embedding norm and no step
/// embeddings, both are the same function. The factor on branches is one on their last matrices.
#[test]
fn invariant_a_loop_is_the_preln_transformer_with_equal_layers() {
    for residual_scale in [ResidualScale::One, ResidualScale::InverseSteps] {
        let mut stream = Stream::new(5, Purpose::Test, 17);
        let config = ut(&mut stream, false);
        let config = UtConfig { injection: false, residual_scale, tied: false, ..looped(&config) };
        let model = config.model(&config, &SiteScales::BASE).unwrap();
        let mut parameters = random_parameters(&model, &mut stream);
        let place = |name: &str| model.layout().position(name).unwrap();
        let steps = place("embedding.step");
        parameters[steps] = parameters[steps].zeros_like().unwrap();
        let of = |name: &str| parameters[place(name)].clone();

        let same = PreLnConfig {
            vocab: config.vocab,
            width: config.width,
            layers: config.steps,
            heads: config.heads,
            feed_forward_width: config.feed_forward_width,
            biases: true,
            ..PreLnConfig::default()
        };
        let unrolled = same.model(&same, &SiteScales::BASE).unwrap();
        let copies = unrolled.layout().specs().iter().map(|spec| {
            let name = spec.name();
            if name == "embedding.token" {
                let kind = of("embedding.type").narrow(0, 0, 1).unwrap();
                let sum = of(name).broadcast_add(&kind).unwrap();
                let (gain, bias) = (of("embedding.norm.weight"), of("embedding.norm.bias"));
                return layers::layer_norm(&sum, &gain, &bias, config.norm_eps).unwrap();
            }
            let Some((_, part)) = name.strip_prefix("layers.").and_then(|n| n.split_once('.'))
            else {
                return of(name);
            };
            let last =
                part.starts_with("attention.output") || part.starts_with("feed_forward.outer");
            let factor = if last { model.scales().residual } else { 1.0 };
            (of(&format!("block.{part}")) * factor).unwrap()
        });
        let copies: Vec<Tensor> = copies.collect();
        let batch = batch(&mut stream, (2, 6), 2);
        let weights = Weights::new(model.layout(), &parameters, None);
        let one = logits(&model, &weights, &batch);
        let weights = Weights::new(unrolled.layout(), &copies, None);
        let gap = largest_gap(&one, &logits(&unrolled, &weights, &batch));
        assert!(gap < 1e-12, "{residual_scale:?}: logits differ by {gap:e}");
    }
}

/// The options change nothing where they have nothing to do: the first step has the input itself,
/// and the parameters of other options are untouched.
#[test]
fn invariant_one_step_hears_no_input_again_and_has_no_factor() {
    let mut stream = Stream::new(6, Purpose::Test, 18);
    let plain = UtConfig { steps: 1, ..ut(&mut stream, false) };
    let all =
        UtConfig { injection: true, residual_scale: ResidualScale::InverseSteps, ..plain.clone() };
    let batch = batch(&mut stream, (2, 6), 2);
    let run = |config: &UtConfig| {
        let model = config.model(config, &SiteScales::BASE).unwrap();
        let parameters = random_parameters(&model, &mut Stream::new(1, Purpose::Test, 19));
        logits(&model, &Weights::new(model.layout(), &parameters, None), &batch)
    };
    assert!(largest_gap(&run(&plain), &run(&all)) < 1e-15);
    let two = UtConfig { steps: 2, ..plain.clone() };
    for other in [
        UtConfig { injection: true, ..two.clone() },
        UtConfig { residual_scale: ResidualScale::InverseSteps, ..two.clone() },
    ] {
        assert!(largest_gap(&run(&two), &run(&other)) > 1e-3, "{other:?}");
    }
}

/// The size of a projection and the sign of the gain are all that QK-norm leaves.
#[test]
fn invariant_qk_norm_ignores_the_size_of_projections() {
    let mut stream = Stream::new(7, Purpose::Test, 20);
    let config = PreLnConfig { qk_norm: true, norm_eps: 0.0, ..preln(&mut stream) };
    let model = config.model(&config, &SiteScales::BASE).unwrap();
    let mut parameters = random_parameters(&model, &mut stream);
    let batch = batch(&mut stream, (2, 5), 1);
    let before = logits(&model, &Weights::new(model.layout(), &parameters, None), &batch);
    for name in ["query", "key"] {
        let place = model.layout().position(&format!("layers.0.attention.{name}.weight")).unwrap();
        parameters[place] = (&parameters[place] * 1000.0).unwrap();
    }
    let after = logits(&model, &Weights::new(model.layout(), &parameters, None), &batch);
    assert!(largest_gap(&before, &after) < 1e-11);
    let place = model.layout().position("layers.0.attention.query_norm.weight").unwrap();
    parameters[place] = (&parameters[place] * 1.5).unwrap();
    let other = logits(&model, &Weights::new(model.layout(), &parameters, None), &batch);
    assert!(largest_gap(&before, &other) > 1e-6, "the gain is the temperature");
    let gain =
        Tensor::ones(config.block().unwrap().head_dim, candle_core::DType::F64, &Device::Cpu);
    assert_eq!(gain.unwrap().dims(), parameters[place].dims());
}

#[test]
fn golden_counts_of_the_looped_control_and_of_qk_norm_by_hand() {
    let sizes = UtConfig { vocab: 100, width: 64, steps: 6, ..UtConfig::default() };
    let plain = sizes.layout().unwrap();
    let all = UtConfig { width: sizes.width, ..looped(&sizes) };
    let control = all.layout().unwrap();
    assert_eq!(plain.total() - control.total(), 1024 * 64, "the position table");
    // 12 d^2 + 13 d of the block, steps, final norm, dense, head norm, embedding norm.
    let body = 12 * 64 * 64 + 13 * 64 + 6 * 64 + 2 * 64 + (64 * 64 + 64) + 2 * 64 + 2 * 64;
    assert_eq!(control.non_embedding(), body);
    assert_eq!(control.total(), body + 2 * 64 + 2 * 100 * 64 + 100);
    let flops =
        |config: &UtConfig| config.model(config, &SiteScales::BASE).unwrap().forward_flops(50);
    let (plain, control) = (flops(&UtConfig { heads: Some(2), ..sizes }), flops(&all));
    assert_eq!(plain, control, "sums and rotations are not counted, matrix products are");

    let preln = PreLnConfig { vocab: 100, width: 64, layers: 3, ..PreLnConfig::default() };
    let normed = PreLnConfig { qk_norm: true, ..preln.clone() };
    let added = normed.layout().unwrap().total() - preln.layout().unwrap().total();
    assert_eq!(added, 3 * 2 * 32, "two gains of one head's width in every layer");
}

/// A gain that all heads share grows with the head, not with their number.
#[test]
fn invariant_the_gain_of_qk_norm_follows_the_width_of_a_head() {
    let table = Parametrization::built_in("mup-table8").unwrap();
    let epsilon = |base: &PreLnConfig| {
        let built = parametrise(&base.at_width(4 * base.width), base, &table).unwrap();
        let layout = built.model.layout().clone();
        let place = layout.position("layers.0.attention.key_norm.weight").unwrap();
        let rule = built.resolved.rules[place];
        assert!((rule.lr_multiplier - 1.0).abs() < 1e-15 && rule.init_std.abs() < 1e-15);
        rule.eps_multiplier
    };
    let base = PreLnConfig { width: 32, qk_norm: true, ..PreLnConfig::default() };
    let more = epsilon(&PreLnConfig { head_dim: Some(8), ..base.clone() });
    let wider = epsilon(&PreLnConfig { heads: Some(4), ..base });
    assert!((more - 1.0).abs() < 1e-15, "more heads of one width: {more}");
    assert!((wider - 0.25).abs() < 1e-15, "wider heads: {wider}");
}

#[test]
fn invariant_combinations_without_meaning_are_refused_with_a_hint() {
    let message = |config: &UtConfig| config.layout().unwrap_err().to_string();
    let base = UtConfig { width: 32, heads: Some(2), ..UtConfig::default() };
    let rotary = UtConfig { positions: Positions::Rotary, ..base.clone() };
    let start = UtConfig { position_start: PositionStart::Sinusoids, ..rotary.clone() };
    assert!(message(&start).contains("no table") && message(&start).contains("hint:"));
    let odd = UtConfig { width: 30, ..rotary.clone() };
    assert!(message(&odd).contains("head_dim is 15") && message(&odd).contains("hint:"));
    // CompleteP scales branches with depth as well; the input that joins again it does not know.
    let table = Parametrization::built_in("completep").unwrap();
    let deep = |config: &UtConfig| {
        let deep = UtConfig { steps: 8, ..config.clone() };
        parametrise(&deep, config, &table).map(|_| ())
    };
    deep(&rotary).unwrap();
    for config in [
        UtConfig { injection: true, ..rotary.clone() },
        UtConfig { residual_scale: ResidualScale::InverseSteps, ..rotary },
    ] {
        let error: ModelError = deep(&config).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("residual_scale") && message.contains("hint:"), "{message}");
        parametrise(&config, &config, &table).unwrap();
    }
}

#[test]
fn invariant_options_at_their_defaults_are_not_written() {
    let written = toml::to_string(&UtConfig::default()).unwrap();
    for key in ["positions", "injection", "residual_scale"] {
        assert!(!written.contains(key), "{written}");
    }
    assert!(!toml::to_string(&PreLnConfig::default()).unwrap().contains("qk_norm"));
    let text = "positions = \"rotary\"\ninjection = true\nresidual_scale = \"inverse_steps\"";
    let config: UtConfig = toml::from_str(text).unwrap();
    assert_eq!(config, UtConfig { width: 256, heads: None, ..looped(&UtConfig::default()) });
    let again: UtConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
    assert_eq!(again, config);
}

/// Budget searches find shapes whose heads can be rotated.
#[test]
fn invariant_a_looped_shape_has_even_heads() {
    let control = looped(&UtConfig { vocab: 50, ..UtConfig::default() });
    let template = ModelConfig::Ut(UtConfig { heads: None, ..control });
    for width in [30, 36, 46, 64] {
        let ModelConfig::Ut(config) = template.with_shape(width, None).unwrap() else {
            panic!("the family stays");
        };
        assert!(config.block().unwrap().head_dim.is_multiple_of(2), "width {width}");
    }
}
