//! The known answers of the Probabilistic Transformer of 2026.

use std::path::PathBuf;

use harness::checks::known_answers::{self, KnownAnswer, MlmCase, Precision};
use models::engine::Engine;
use models::family::parametrise;
use models::gradient_check::relative_error;
use models::parametrization::Parametrization;
use models::pt2026::FusedPt2026;

fn file(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../golden/known_answers/pt2026");
    folder.join(format!("{name}.safetensors"))
}

/// Every tensor of the file agrees, in each of `precisions`.
fn agrees(name: &str, precisions: &[Precision]) {
    let report = known_answers::check(&file(name)).unwrap();
    assert_eq!(report.family, "pt");
    for &precision in precisions {
        let compared = report.tensors.iter().filter(|tensor| tensor.precision == precision);
        assert!(compared.count() > 10, "{name}: too few tensors in {}", precision.name());
    }
    let differing: Vec<_> = report.tensors.iter().filter(|tensor| !tensor.agrees).collect();
    assert!(differing.is_empty(), "{name}: {differing:#?}");
}

#[test]
fn parity_pt2026_default_shape() {
    agrees("default_shape", &Precision::ALL);
}

#[test]
fn parity_pt2026_exact_rope() {
    agrees("exact_rope", &Precision::ALL);
}

#[test]
fn parity_pt2026_published_rope() {
    agrees("published_rope", &Precision::ALL);
}

#[test]
fn parity_pt2026_one_way() {
    agrees("one_way", &Precision::ALL);
}

#[test]
fn parity_pt2026_no_damping() {
    agrees("no_damping", &Precision::ALL);
}

#[test]
fn parity_pt2026_without_width_normalisation() {
    agrees("standard_parametrization", &Precision::ALL);
}

#[test]
fn parity_pt2026_ten_adamw_steps() {
    agrees("training_trace", &[Precision::F64]);
}

/// The fused path in f32 against the same files; it computes the loss and the gradients.
#[test]
fn parity_pt2026_fused_path() {
    let table = Parametrization::built_in("mup").unwrap();
    let names = [
        "default_shape",
        "exact_rope",
        "published_rope",
        "one_way",
        "no_damping",
        "standard_parametrization",
    ];
    for name in names {
        let file = KnownAnswer::read(&file(name)).unwrap();
        let config = known_answers::pt2026::config(&file).unwrap();
        let batch = MlmCase::read(&file, config.vocab).unwrap().batch;
        let built = parametrise(&config, &config, &table).unwrap();
        let layout = &built.base_layout;
        let recorded = |kind: &str, parameter: &str| {
            file.floats(&format!("{kind}.{parameter}")).unwrap().1.to_vec()
        };
        let parameters: Vec<f32> = layout
            .specs()
            .iter()
            .flat_map(|spec| recorded("param", spec.name()))
            .map(|value| value as f32)
            .collect();
        let mut engine = FusedPt2026::new(&built.model, &built.resolved).unwrap();
        let mut gradients = vec![f32::NAN; layout.total()];
        let found = engine.loss_and_gradients(&parameters, &batch, &mut gradients).unwrap();

        let tolerance = Precision::F32.tolerance();
        let (_, loss) = file.floats("loss").unwrap();
        assert!((found.loss_nats / loss[0] - 1.0).abs() <= tolerance, "{name}: {found:?}");
        for (position, spec) in layout.specs().iter().enumerate() {
            let part = &gradients[layout.range(position)];
            let part: Vec<f64> = part.iter().map(|&value| f64::from(value)).collect();
            let error = relative_error(&part, &recorded("grad", spec.name()));
            assert!(error <= tolerance, "{name}: {} {error:e}", spec.name());
        }
    }
}
