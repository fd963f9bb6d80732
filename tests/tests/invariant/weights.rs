//! Standard form: the same logits without the parametrization, for every family and table.

use baselines::blocks::Positions;
use baselines::{BertConfig, PreLnConfig, ResidualScale, UtConfig};
use candle_core::{DType, Device, Tensor};
use harness::config::run::RunConfig;
use harness::weights;
use models::architecture::{Architecture, NoProbe, TensorBatch, Weights};
use models::batch::{Batch, Target};
use models::family::{FamilyConfig, parametrise};
use models::parametrization::{Parametrization, Resolved, SiteScales};
use models::pt2023::{
    GlobalConfig, GlobalDesign, GlobalForm, LogitFactor, Pt2023Config, TernaryForm,
};
use models::pt2026::{Potential, Pt2026Config};
use models::random::{Purpose, Stream};
use models::standard_form::Standardise;

const VOCAB: usize = 19;

fn batch() -> Batch {
    let (sequences, length) = (2, 7);
    let mut stream = Stream::new(5, Purpose::Test, 0);
    let ids = (0..sequences * length).map(|_| stream.below(VOCAB as u64) as u32).collect();
    let attention = (0..sequences * length).map(|at| at % length < 7 - at / length * 2).collect();
    let targets = [0, 3, 8, 11].map(|position| Target { position, label: 2 }).to_vec();
    Batch { ids, attention: Some(attention), targets, sequences, length, dropout: None }
}

/// Logits `(targets, V)` of random weights times `factors`, f64.
fn logits(model: &impl Architecture, resolved: Option<&Resolved>, factors: &[f64]) -> Vec<f64> {
    let layout = model.layout();
    let tensor = |(spec, factor): (&models::parameters::ParameterSpec, &f64)| {
        let mut stream = Stream::named(3, Purpose::Test, spec.name(), 0);
        let values: Vec<f64> =
            (0..spec.count()).map(|_| factor * (0.2 + 0.5 * stream.normal())).collect();
        Tensor::from_vec(values, spec.shape(), &Device::Cpu).unwrap()
    };
    let tensors: Vec<Tensor> = layout.specs().iter().zip(factors).map(tensor).collect();
    let weights = Weights::new(layout, &tensors, resolved);
    let batch = TensorBatch::new(&batch(), DType::F64, &Device::Cpu).unwrap();
    let hidden = model.encode(&weights, &batch, &mut NoProbe).unwrap().hidden;
    let width = hidden.dim(2).unwrap();
    let rows = hidden.reshape(((), width)).unwrap().index_select(&batch.positions, 0).unwrap();
    let logits = model.head(&weights, &rows, &mut NoProbe).unwrap();
    logits.flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest difference between the parametrised model's logits and the standard form's, relative
/// to the largest logit; also how many factors are not one.
fn gap<C: Standardise>(config: &C, base: &C, table: &str) -> (f64, usize) {
    let table = Parametrization::built_in(table).unwrap();
    let built = parametrise(config, base, &table).unwrap();
    let ones = vec![1.0; built.resolved.rules.len()];
    let actual = logits(&built.model, Some(&built.resolved), &ones);
    let form = config.standard_form(base, &built.resolved).unwrap();
    let plain = form.config.model(&form.config, &SiteScales::BASE).unwrap();
    let folded = logits(&plain, None, &form.factors);
    let scale = actual.iter().fold(0.0f64, |most, logit| most.max(logit.abs()));
    let gap = actual.iter().zip(&folded).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
    (gap / scale, form.factors.iter().filter(|factor| (**factor - 1.0).abs() > 0.0).count())
}

fn check<C: Standardise>(what: &str, config: &C, base: &C) {
    for table in Parametrization::names() {
        let (gap, _) = gap(config, base, table);
        assert!(gap < 1e-10, "{what} under {table}: logits differ by {gap:e}");
        // The model as its own base has nothing to fold.
        assert_eq!(self::gap(config, config, table), (0.0, 0), "{what} under {table}");
    }
}

#[test]
fn invariant_transformers_without_parametrization_give_the_same_logits() {
    for tied in [false, true] {
        let bert = BertConfig {
            vocab: VOCAB,
            width: 12,
            layers: 2,
            heads: Some(2),
            max_length: 8,
            tied,
            ..BertConfig::default()
        };
        let base = BertConfig { width: 8, layers: 1, ..bert.clone() };
        check("bert", &bert, &base);
        let preln = PreLnConfig {
            vocab: VOCAB,
            width: 12,
            layers: 2,
            heads: Some(2),
            biases: true,
            tied,
            ..PreLnConfig::default()
        };
        check("preln", &preln, &PreLnConfig { width: 8, layers: 1, ..preln.clone() });
        let normed = PreLnConfig { qk_norm: true, ..preln };
        check("qk-norm", &normed, &PreLnConfig { width: 8, layers: 1, ..normed.clone() });
        for halting in [false, true] {
            let ut = UtConfig {
                vocab: VOCAB,
                width: 12,
                steps: 3,
                heads: Some(2),
                max_length: 8,
                tied,
                halting,
                halting_bias: 0.0,
                ..UtConfig::default()
            };
            check("ut", &ut, &UtConfig { width: 8, ..ut.clone() });
            let looped = UtConfig {
                positions: Positions::Rotary,
                injection: true,
                residual_scale: ResidualScale::InverseSteps,
                ..ut
            };
            check("looped", &looped, &UtConfig { width: 8, ..looped.clone() });
        }
    }
}

#[test]
fn invariant_pt2026_without_parametrization_gives_the_same_logits() {
    for tied in [false, true] {
        for topic_potential in [Potential::Abs, Potential::Exp] {
            let pt = Pt2026Config {
                vocab: VOCAB,
                width: 16,
                iterations: 3,
                channels: 2,
                topic_potential,
                tied,
                ..Pt2026Config::default()
            };
            check("pt", &pt, &pt_base(&pt));
            let plain = Pt2026Config { width_normalisation: false, ..pt };
            check("pt without normalisation", &plain, &pt_base(&plain));
        }
    }
}

/// Ratios of width, rank and topics all differ.
fn pt_base(config: &Pt2026Config) -> Pt2026Config {
    Pt2026Config { width: 8, rank: Some(6), topics: Some(10), ..config.clone() }
}

#[test]
fn invariant_pt2023_without_parametrization_gives_the_same_logits() {
    let forms =
        [TernaryForm::Uv, TernaryForm::Uvw, TernaryForm::Dense, TernaryForm::DistanceShared];
    for ternary in forms {
        let config = Pt2023Config {
            vocab: VOCAB,
            width: 12,
            channels: 2,
            rank: 6,
            iterations: 3,
            ternary,
            head_damping: 0.3,
            root_labels: Some(4),
            ..Pt2023Config::default()
        };
        let base = Pt2023Config { width: 8, rank: 2, root_labels: Some(3), ..config.clone() };
        check("pt2023", &config, &base);
    }
}

#[test]
fn invariant_global_features_are_folded_or_refused_with_the_reason() {
    for form in [GlobalForm::Dense, GlobalForm::Product, GlobalForm::NormalisedProduct] {
        let features = GlobalConfig {
            design: GlobalDesign::AllAttention,
            features: 6,
            form,
            rank: 3,
            ..GlobalConfig::default()
        };
        let config = Pt2023Config {
            vocab: VOCAB,
            width: 12,
            channels: 2,
            rank: 6,
            iterations: 2,
            globals: Some(features),
            ..Pt2023Config::default()
        };
        // Features and rank grow with width: their factors on the logits agree.
        let proportional = config.at_width(8);
        let (gap, _) = gap(&config, &proportional, "mup-table8");
        assert!(gap < 1e-10, "{gap:e}");
        let table = Parametrization::built_in("mup-table8").unwrap();
        let other = Pt2023Config { rank: 2, ..proportional };
        let built = parametrise(&config, &other, &table).unwrap();
        let problem = config.standard_form(&other, &built.resolved).unwrap_err().to_string();
        assert!(problem.contains("global features") && problem.contains("hint:"), "{problem}");
        let own = Pt2023Config { logit_factor: LogitFactor::OwnWidth, ..config };
        let built =
            parametrise(&own, &own.at_width(8), &Parametrization::built_in("pt-2023").unwrap());
        own.standard_form(&own.at_width(8), &built.unwrap().resolved).unwrap();
    }
}

fn run(text: &str, family: &str) -> RunConfig {
    RunConfig::resolve(family, vec![toml::from_str(text).unwrap()], &[]).unwrap()
}

/// Export, load, unfold: where nothing is folded the bits survive, else rounding of f32 only.
/// Half of the shapes cannot stand at width 256, the usual base.
#[test]
fn invariant_weights_survive_export_and_import() {
    let cases = [
        ("pt", 16, 8, "channels = 2\niterations = 2"),
        ("bert", 16, 8, "head_dim = 8\nlayers = 1\nmax_length = 8\ntied = true"),
        ("preln", 16, 8, "head_dim = 8\nlayers = 1"),
        ("ut", 16, 8, "head_dim = 8\nsteps = 2\nmax_length = 8\nhalting = true"),
        ("pt2023", 16, 8, "channels = 2\nrank = 4\niterations = 2"),
        ("pt", 24, 12, "channels = 2\niterations = 2\nrank = 6\ntopics = 7"),
        ("bert", 36, 18, "head_dim = 18\nlayers = 1\nmax_length = 8\nfeed_forward_width = 5"),
        ("preln", 44, 22, "head_dim = 22\nlayers = 1"),
        ("ut", 26, 13, "head_dim = 13\nsteps = 2\nmax_length = 8"),
        ("pt2023", 22, 11, "channels = 2\nrank = 3\niterations = 2"),
        ("preln", 16, 8, "head_dim = 8\nlayers = 1\nqk_norm = true"),
        (
            "ut",
            16,
            8,
            "head_dim = 8\nsteps = 2\npositions = \"rotary\"\ninjection = true\n\
             residual_scale = \"inverse-steps\"",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    for (family, width, narrow, shape) in cases {
        for (table, base_width, exact) in [("standard", width, true), ("mup-table9", narrow, false)]
        {
            let text = format!(
                "path = \"reference\"\n[model.{family}]\nvocab = {VOCAB}\nwidth = {width}\n\
                 {shape}\n[parametrization]\nname = \"{table}\"\nbase_width = {base_width}"
            );
            let run = run(&text, family);
            let mut built = run.build().unwrap();
            let parameters =
                built.resolved.initialise(&built.layout, &built.base_layout, 4).unwrap();
            let losses = built.engine.target_losses(&parameters, &batch()).unwrap();

            let (standard, changes) =
                weights::fold(&run, &parameters, weights::Origin::default()).unwrap();
            assert_eq!(changes.is_empty(), exact, "{family} under {table}: {changes:?}");
            weights::export(&path, &standard).unwrap();
            let read = weights::load(&path).unwrap();
            assert_eq!(read, standard, "{family} under {table}");
            let back = weights::unfold(&run, &read, &path).unwrap();

            let plain = read.plain_run().unwrap();
            let plain = RunConfig { path: run.path, ..plain };
            let mut engine = plain.build().unwrap().engine;
            let plain_losses = engine.target_losses(&read.parameters, &batch()).unwrap();
            if exact {
                assert_eq!(back, parameters, "{family}: bits changed");
                assert_eq!(plain_losses, losses, "{family}: bits of losses changed");
                continue;
            }
            for (a, b) in back.iter().zip(&parameters) {
                assert!((a - b).abs() <= 1e-6 * b.abs(), "{family}: {a} is not {b}");
            }
            for (a, b) in plain_losses.iter().zip(&losses) {
                assert!((a - b).abs() < 2e-6 * b.abs(), "{family} under {table}: {a} is not {b}");
            }
        }
    }
}

#[test]
fn invariant_weights_of_another_model_are_refused_with_the_difference() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let text = |more: &str| format!("[model.pt]\nvocab = 19\nwidth = 16\nchannels = 2\n{more}");
    let first = run(&text(""), "pt");
    let built = first.build().unwrap();
    let parameters = built.resolved.initialise(&built.layout, &built.base_layout, 1).unwrap();
    let (standard, _) = weights::fold(&first, &parameters, weights::Origin::default()).unwrap();
    weights::export(&path, &standard).unwrap();
    let read = weights::load(&path).unwrap();
    for (more, named) in
        [("iterations = 2", "sizes"), ("lambda_z = 0.5", "lambda_z"), ("rope = \"none\"", "rope")]
    {
        let problem = weights::unfold(&run(&text(more), "pt"), &read, &path).unwrap_err();
        assert!(problem.to_string().contains(named), "{problem}");
    }
    let mut file = weights::TensorFile::open(&path).unwrap();
    let wider = run("[model.pt]\nvocab = 19\nwidth = 24\nchannels = 2", "pt");
    let problem = weights::read(&mut file, &wider.model).unwrap_err().to_string();
    assert!(problem.contains("'unary': expected shape [19, 24], found [19, 16]"), "{problem}");
    let tied = run("[model.pt]\nvocab = 19\nwidth = 16\nchannels = 2\ntied = true", "pt");
    let problem = weights::read(&mut file, &tied.model).unwrap_err().to_string();
    assert!(problem.contains("unknown tensors (head.decoder.weight)"), "{problem}");
}
