//! The objective against its own definition and against what theory says.

use models::family::FamilyConfig;
use models::pt2026::Potential;

use super::*;

fn config(potential: Potential, topic: Potential) -> Pt2026Config {
    Pt2026Config {
        vocab: 11,
        width: 8,
        iterations: 3,
        channels: 2,
        topics: Some(6),
        label_potential: potential,
        topic_potential: topic,
        lambda_h: 0.4,
        lambda_g: 0.7,
        ..Pt2026Config::default()
    }
}

fn run_of(config: &Pt2026Config) -> (RunConfig, Vec<f32>) {
    let model = ModelConfig::Pt(config.clone());
    let layout = config.layout().unwrap();
    let weights = crate::weights::StandardWeights {
        model,
        parameters: Vec::new(),
        origin: crate::weights::Origin::default(),
    };
    let run = weights.plain_run().unwrap();
    let built = run.build().unwrap();
    (run, built.resolved.initialise(&layout, &built.base_layout, 3).unwrap())
}

const IDS: [u32; 5] = [1, 4, 4, 7, 10];

fn descent(config: &Pt2026Config, rope: Rope, damping: f64, ids: &[u32]) -> Descent {
    let (run, parameters) = run_of(config);
    Energy::new(&run, &parameters, (rope, damping), 4).unwrap().of(ids).unwrap()
}

#[test]
fn invariant_changes_of_the_blocks_add_up_and_heads_only_lower() {
    for potential in [Potential::Square, Potential::Abs, Potential::Exp] {
        let descent = descent(&config(potential, Potential::Abs), Rope::Exact, 0.5, &IDS);
        let mut value = descent.initial_nats;
        for step in &descent.iterations {
            let sum = step.change_by_heads + step.change_by_topics + step.change_by_labels;
            assert!((step.objective_nats - value - sum).abs() < 1e-10, "{step:?}");
            // Heads are the exact minimiser, whatever the labels are.
            assert!(step.change_by_heads <= 1e-12, "{step:?}");
            assert!((0.0..=1.0).contains(&step.moved) && (0.0..=1.0).contains(&step.moved_in_two));
            value = step.objective_nats;
        }
    }
}

#[test]
fn invariant_softmax_topics_minimise_and_published_ones_need_not() {
    let exact = descent(&config(Potential::Square, Potential::Exp), Rope::Exact, 0.5, &IDS);
    assert!(exact.iterations.iter().all(|step| step.change_by_topics <= 1e-12), "{exact:?}");
}

/// Topics that nothing is known about are uniform before and after their update, which then changes
/// nothing: also where normalised values are not multiplied by their number.
#[test]
fn invariant_topics_start_uniform_as_the_model_normalises_them() {
    for width_normalisation in [true, false] {
        let config = Pt2026Config {
            width_normalisation,
            binary_weight: 1e-9,
            ..config(Potential::Square, Potential::Exp)
        };
        let descent = descent(&config, Rope::Exact, 0.5, &IDS);
        let change = descent.iterations[0].change_by_topics;
        assert!(change.abs() < 1e-6, "width_normalisation {width_normalisation}: {change}");
    }
}

/// A single word has no heads. With softmax labels and topics and no damping, both blocks move to
/// their exact minimisers in turn, so E falls at every iteration.
#[test]
fn invariant_one_word_of_the_exponential_form_descends() {
    let config = config(Potential::Exp, Potential::Exp);
    for id in 0..11 {
        let descent = descent(&config, Rope::Exact, 0.0, &[id]);
        assert!(descent.falls(), "word {id}: {descent:?}");
        assert!(descent.iterations.iter().all(|step| step.change_by_labels <= 1e-12));
    }
}

/// E by loops over the definition, for three words, one channel and one iteration. With two, a
/// word's only head would be certain and its entropy would not count.
#[test]
fn golden_objective_by_hand() {
    let config = Pt2026Config {
        channels: 1,
        rank: Some(2),
        rope: Rope::None,
        ..config(Potential::Square, Potential::Abs)
    };
    let (run, parameters) = run_of(&config);
    let layout = config.layout().unwrap();
    let tensor = |name: &str| {
        let position = layout.position(name).unwrap();
        let values = &parameters[layout.range(position)];
        values.iter().map(|&value| f64::from(value)).collect::<Vec<f64>>()
    };
    let (unary, u, v, b) =
        (tensor("unary"), tensor("ternary_u"), tensor("ternary_v"), tensor("binary"));
    let (width, topics, rank) = (8usize, 6.0f64, 2.0);
    let ids = [1usize, 7, 4];
    let scores: Vec<&[f64]> = ids.iter().map(|id| &unary[id * width..(id + 1) * width]).collect();
    let beliefs: Vec<Vec<f64>> = scores
        .iter()
        .map(|z| {
            let total: f64 = z.iter().map(|z| z * z).sum();
            z.iter().map(|z| width as f64 * z * z / total).collect()
        })
        .collect();
    let product = |matrix: &[f64], x: &[f64]| -> Vec<f64> {
        matrix.chunks(width).map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum()).collect()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (s_t, s_b) = (config.ternary_weight, config.binary_weight);
    let mut energy = 0.0;
    for (i, x) in beliefs.iter().enumerate() {
        energy -= dot(scores[i], x);
        // Uniform heads: each of the two others has half, the entropy is ln 2.
        for other in (0..3).filter(|&other| other != i) {
            let score = s_t * s_t * dot(&product(&u, x), &product(&v, &beliefs[other]));
            energy -= 0.5 * score;
        }
        energy -= config.lambda_h * rank * 2f64.ln();
        // Uniform topics: every activation is one.
        energy -= s_b * product(&b, x).iter().sum::<f64>();
        energy -= config.lambda_g * topics * topics.ln();
        let shares = x.iter().map(|x| x / width as f64);
        let entropy: f64 = shares.map(|q| if q > 0.0 { -q * q.ln() } else { 0.0 }).sum();
        energy -= config.lambda_z * width as f64 * entropy;
    }
    let expected = energy / (config.lambda_h * rank) / 3.0;
    let energy = Energy::new(&run, &parameters, (Rope::None, 0.5), 1).unwrap();
    let found = energy.of(&[1, 7, 4]).unwrap();
    assert!((found.initial_nats - expected).abs() < 1e-10, "{} {expected}", found.initial_nats);
    // Of two words each has one head, certain from the start.
    assert!(energy.of(&[1, 7]).unwrap().iterations[0].change_by_heads.abs() < 1e-12);
}

#[test]
fn invariant_another_family_has_no_such_objective() {
    let run = RunConfig::resolve("preln", Vec::new(), &["model.width=32".to_owned()]).unwrap();
    let parameters = vec![0.0; run.model.layout().unwrap().total()];
    let refused = Energy::new(&run, &parameters, (Rope::Exact, 0.5), 2).err().expect("refused");
    assert!(refused.to_string().contains("that of pt"), "{refused}");
}
