use super::*;

fn model(family: &str, shape: &str) -> ModelConfig {
    ModelConfig::from_table(toml::from_str(&format!("[{family}]\nvocab = 32000\n{shape}")).unwrap())
        .unwrap()
}

fn step(sequences: usize, length: usize) -> DeviceStep {
    DeviceStep { sequences, length, target_share: 0.15, parts_min: 1, recompute: false }
}

fn seconds(plan: &DevicePlan, what: &str) -> f64 {
    plan.work.iter().filter(|work| work.what == what).map(|work| work.seconds).sum()
}

#[test]
fn golden_the_largest_published_pt_takes_a_few_seconds_a_step() {
    let model = model("pt", "width = 3840\nrope = \"published\"");
    let of = |precision| plan(&model, step(128, 1024), precision).unwrap();
    let split = of(Precision::Split);
    // 393,259,520 parameters with 4 bytes each of parameter, gradient and two moments, 6 of copies.
    let memory = &split.memory;
    let state = memory.parameters + memory.gradients + memory.moments;
    assert!((22 * 393_259_520..22 * 393_260_000).contains(&state), "{state}");
    assert_eq!(split.fits.iter().map(|fit| fit.parts).collect::<Vec<_>>(), [Some(4), Some(2)]);
    assert_eq!((split.parts, split.bytes_peak), (2, split.fits[1].bytes_peak));
    // 36 N^2 a word and iteration: six products of U and V, four of B.
    let dense = 36.0 * 3840f64.powi(2) * (128.0 * 1024.0 * 6.0);
    assert!((split.work[0].amount / (3.0 * dense) - 1.0).abs() < 1e-12);
    assert!((split.work[1].amount / (2.0 * dense) - 1.0).abs() < 1e-12);
    assert!((4.0..4.6).contains(&split.seconds_per_step), "{}", split.seconds_per_step);
    assert!((2.4..2.9).contains(&of(Precision::Half).seconds_per_step));
    assert!((27.0..33.0).contains(&of(Precision::F32).seconds_per_step));
}

/// Scores that are computed again cost what their digits cost.
#[test]
fn invariant_split_pays_for_the_forward_pass_and_for_scores_computed_again() {
    let model = model("pt", "width = 256");
    let of = |precision| plan(&model, step(16, 512), precision).unwrap();
    let (half, split) = (of(Precision::Half), of(Precision::Split));
    let cheaper = of(Precision::SplitBf16Scores);
    let ratio = |plan: &DevicePlan, what| seconds(plan, what) / seconds(&half, what);
    for (what, expected) in [
        ("encoder products, forward", 3.0),
        ("encoder products, backward", 1.0),
        ("head selection, forward", 3.0),
        // Three of eleven products are scores: 8 + 3 x 3.
        ("head selection, backward", 17.0 / 11.0),
        ("decoder", 5.0 / 3.0),
        ("losses", 1.0),
    ] {
        assert!((ratio(&split, what) - expected).abs() < 1e-12, "{what}");
    }
    assert!((ratio(&cheaper, "head selection, backward") - 1.0).abs() < 1e-12);
}

#[test]
fn invariant_nothing_kept_grows_with_the_square_of_the_length() {
    for (family, shape) in [
        ("pt", "width = 256"),
        ("bert", "width = 256\nmax_length = 4096"),
        ("preln", "width = 256"),
    ] {
        let model = model(family, shape);
        let bytes = |sequences, length| {
            plan(&model, step(sequences, length), Precision::Half).unwrap().memory.activations
        };
        assert_eq!(bytes(64, 512), bytes(8, 4096), "{family}");
    }
    // Of rank 960, posteriors go through memory, of sixteen heads at a time.
    let model = model("pt", "width = 3840");
    let bytes = |sequences, length| {
        plan(&model, step(sequences, length), Precision::Half).unwrap().memory.activations
    };
    assert_eq!(bytes(2, 2048) - bytes(4, 1024), 16 * 12 * (2048 * 2048 - 1024 * 1024));
}

#[test]
fn invariant_parts_and_recomputation_save_memory_and_recomputation_costs_time() {
    for (family, shape) in [("pt", "width = 512"), ("bert", "width = 512\nlayers = 8")] {
        let model = model(family, shape);
        let of = |parts_min, recompute| {
            let step = DeviceStep { parts_min, recompute, ..step(16, 512) };
            plan(&model, step, designed_precision(&model)).unwrap()
        };
        let whole = of(1, false);
        assert_eq!(whole.parts, 1, "{family}");
        assert_eq!((of(3, false).parts, of(4, false).parts), (4, 4), "{family}");
        assert!(of(4, false).bytes_peak < whole.bytes_peak, "{family}");
        assert!(of(1, true).bytes_peak < whole.bytes_peak, "{family}");
        assert!(of(1, true).seconds_per_step > whole.seconds_per_step, "{family}");
        let sum: f64 = whole.work.iter().map(|work| work.amount / work.per_second).sum();
        assert!((sum / whole.seconds_per_step - 1.0).abs() < 1e-12, "{family}");
    }
}

#[test]
fn invariant_a_sequence_too_large_for_a_gpu_is_said() {
    let model = model("pt", "width = 3840");
    let plan = plan(&model, step(2, 200_000), Precision::Split).unwrap();
    assert_eq!(plan.fits[1].parts, None);
    assert_eq!(plan.parts, 2);
    assert!(plan.bytes_peak > 141_000_000_000);
}
