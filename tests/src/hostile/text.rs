//! Configurations, definitions, parametrizations, manifests, tables, treebanks.

use std::fs;
use std::sync::OnceLock;

use harness::config::model::ModelConfig;
use harness::config::overrides;
use harness::config::run::RunConfig;
use harness::experiment::Experiment;
use harness::ledger::{Ledger, Manifest, overview};
use harness::runs::record;
use harness::train::recorder::Recorder;
use harness::treebank::arcs::{Hits, tree_heads};
use harness::treebank::conllu;
use harness::whitebox::words::Square;
use models::family::FamilyConfig;
use models::parametrization::Parametrization;
use models::pt2026::Pt2026Config;

const RUN: &str = r#"
seed = 3
data_seed = 4
path = "fused"
[model.pt]
width = 64
vocab = 512
channels = 4
iterations = 3
rope = "published"
[base.pt]
width = 32
vocab = 512
[parametrization]
name = "pt-2026"
base_width = 32
[data]
source = "paths"
length = 32
packing = "sentences"
[data.paths]
train = ["text.txt"]
validation_share = 0.1
[data.tokenizer]
kind = "bpe"
vocab = 512
[data.masking]
share = 0.15
[train]
steps = 100
batch = 8
learning_rate = 0.1
[train.schedule]
warmup_share = 0.1
decay = "linear"
"#;

const MANIFEST: &str = include_str!("manifest.json");
const CLAIM: &str = r#"{"pid":99999999,"machine":"0123456789abcdef","released":false}"#;
const METRICS: &str = "step,tokens,loss_nats,auxiliary,gradient_norm,learning_rate\n\
                       1,8,5.5,0,1.25,0.001\n2,16,5.25,0,1.125,0.002\n";
/// Name and text of the files of a run that a ledger reads.
const ENTRY: [(&str, &str); 3] =
    [("manifest.json", MANIFEST), ("claim-000001", CLAIM), ("metrics.csv", METRICS)];
/// Steps that a resumed run may go on from, before, among and behind those of `METRICS`.
const RESUMED_FROM: u64 = 4;
/// Name and text of the tables of a run that reports read.
const TABLES: [(&str, &str); 3] = [
    ("evaluation.csv", "step,loss_nats,targets\n10,5.25,900\n20,5.125,900\n"),
    ("documents.csv", "document,loss_nats_sum,targets\n0,52.5,10\n1,40.25,9\n"),
    ("arcs.csv", ARCS),
];
const ARCS: &str = "step,iteration,channel,direction,arcs,directed,undirected,uas_low,uas_high,\
                    uuas_low,uuas_high\n10,2,1,to-head,90,45,60,0.4,0.6,0.6,0.7\n\
                    20,1,2,from-head,90,50,61,,,,\n";
/// A sentence with a multiword token, an empty node, and one of a single word.
const TREEBANK: &str = "# sent_id = 1\n# text = I don't go.\n\
    1\tI\t_\tPRON\t_\t_\t4\tnsubj\t_\t_\n\
    2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_\n\
    2\tdo\t_\tAUX\t_\t_\t4\taux\t_\t_\n\
    3\tn't\t_\tPART\t_\t_\t4\tadvmod\t_\t_\n\
    4\tgo\t_\tVERB\t_\t_\t0\troot\t_\tSpaceAfter=No\n\
    4.1\tgo\t_\tVERB\t_\t_\t_\t_\t4:conj\t_\n\
    5\t.\t_\tPUNCT\t_\t_\t4\tpunct\t_\t_\n\n\
    1\tGo\t_\tVERB\t_\t_\t0\troot\t_\t_\n";

type Samples = OnceLock<Vec<Vec<u8>>>;

fn of_texts(samples: &'static Samples, texts: &[&str]) -> &'static [Vec<u8>] {
    samples.get_or_init(|| texts.iter().map(|text| text.as_bytes().to_vec()).collect())
}

pub(super) fn run_configuration_samples() -> &'static [Vec<u8>] {
    static SAMPLES: Samples = OnceLock::new();
    of_texts(&SAMPLES, &[RUN])
}

pub(super) fn run_configuration(_: usize, bytes: &[u8]) {
    if let Ok(run) = RunConfig::from_toml("run.toml", &String::from_utf8_lossy(bytes)) {
        // Counting parameters allocates none.
        if let Ok(layout) = run.model.layout() {
            let _ = run.model.forward_flops(run.data.length);
            let _ = (layout.total(), run.validate());
        }
    }
}

pub(super) fn assignment_samples() -> &'static [Vec<u8>] {
    static SAMPLES: Samples = OnceLock::new();
    of_texts(&SAMPLES, &["model.pt.width=64"])
}

pub(super) fn assignment(_: usize, bytes: &[u8]) {
    let mut table = toml::Table::new();
    if overrides::set(&mut table, &String::from_utf8_lossy(bytes)).is_ok() {
        let _ = RunConfig::from_table(&table);
    }
}

pub(super) fn definition_samples() -> &'static [Vec<u8>] {
    static SAMPLES: Samples = OnceLock::new();
    let texts = [
        include_str!("../../../harness/experiments/presets/tour.toml"),
        include_str!("../../../harness/experiments/presets/quick.toml"),
    ];
    of_texts(&SAMPLES, &texts)
}

pub(super) fn definition(_: usize, bytes: &[u8]) {
    if let Ok(own) = Experiment::parse("own.toml", &String::from_utf8_lossy(bytes)) {
        let Ok(ladder) = own.ladder() else { return };
        for family in ["pt", "bert", "preln", "ut"] {
            let template: Option<ModelConfig> = ladder.template(family, None, 64).ok();
            let _ = template.map(|template| template.layout().map(|layout| layout.total()));
        }
    }
}

pub(super) fn experiment_samples() -> &'static [Vec<u8>] {
    static SAMPLES: Samples = OnceLock::new();
    let texts = [
        include_str!("../../../harness/experiments/quality.toml"),
        include_str!("../../../harness/experiments/rope.toml"),
        include_str!("../../../harness/experiments/transfer.toml"),
    ];
    of_texts(&SAMPLES, &texts)
}

pub(super) fn experiment(_: usize, bytes: &[u8]) {
    if let Ok(experiment) = Experiment::parse("own.toml", &String::from_utf8_lossy(bytes)) {
        let _ = (experiment.stopping(), experiment.fixed(), experiment.to_toml());
    }
}

pub(super) fn parametrization_samples() -> &'static [Vec<u8>] {
    static SAMPLES: Samples = OnceLock::new();
    let table = include_str!("../../../models/src/parametrization/tables/completep.toml");
    of_texts(&SAMPLES, &[table])
}

pub(super) fn parametrization(_: usize, bytes: &[u8]) {
    if let Ok(table) = Parametrization::parse("own.toml", &String::from_utf8_lossy(bytes)) {
        let base = Pt2026Config { vocab: 64, width: 16, ..Pt2026Config::default() };
        let wide = base.at_width(32);
        let layout = |config: &Pt2026Config| config.layout().expect("a valid shape");
        let (here, at_base) = (layout(&wide), layout(&base));
        let _ = table.resolve((&here, wide.dimensions()), (&at_base, base.dimensions()));
    }
}

pub(super) fn manifest_samples() -> &'static [Vec<u8>] {
    static SAMPLES: Samples = OnceLock::new();
    of_texts(&SAMPLES, &[MANIFEST])
}

pub(super) fn manifest(_: usize, bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("manifest.json"), bytes).expect("a file of it");
    let read = Manifest::read(folder.path());
    if bytes == MANIFEST.as_bytes() {
        let manifest = read.expect("the sample can be read").expect("and is there");
        assert!(manifest.is_done(), "the sample is a finished run");
    }
}

pub(super) fn ledger_entry_samples() -> &'static [Vec<u8>] {
    static SAMPLES: Samples = OnceLock::new();
    of_texts(&SAMPLES, &ENTRY.map(|(_, text)| text).repeat(RESUMED_FROM as usize))
}

pub(super) fn ledger_entry(sample: usize, bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ledger = Ledger::open(folder.path()).expect("a new ledger");
    let run = folder.path().join("runs/pt-32-0123456789abcdef");
    fs::create_dir(&run).expect("a new run");
    let (damaged, step) = (sample % ENTRY.len(), (sample / ENTRY.len()) as u64);
    for (index, (name, text)) in ENTRY.iter().enumerate() {
        let bytes = if index == damaged { bytes } else { text.as_bytes() };
        fs::write(run.join(name), bytes).expect("a file of it");
    }
    let seen = overview::observe(&ledger).map(|runs| runs.len()).ok();
    assert_eq!(seen, Some(1), "a damaged run hides itself or others");
    let _ = Recorder::open(&run, step);
}

pub(super) fn table_samples() -> &'static [Vec<u8>] {
    static SAMPLES: Samples = OnceLock::new();
    of_texts(&SAMPLES, &TABLES.map(|(_, text)| text))
}

pub(super) fn table(sample: usize, bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join(TABLES[sample].0), bytes).expect("a file of it");
    let _ = record::read_evaluations(folder.path());
    let _ = record::read_documents(folder.path());
    let _ = record::read_arcs(folder.path());
}

pub(super) fn treebank_samples() -> &'static [Vec<u8>] {
    static SAMPLES: Samples = OnceLock::new();
    of_texts(&SAMPLES, &[TREEBANK])
}

pub(super) fn treebank(_: usize, bytes: &[u8]) {
    let Ok(sentences) = conllu::parse(&String::from_utf8_lossy(bytes)) else {
        assert!(bytes != TREEBANK.as_bytes(), "the sample can be read");
        return;
    };
    for sentence in &sentences {
        let words = sentence.gold.heads.len();
        assert_eq!((sentence.places.len(), sentence.tags.len()), (words, words));
        assert!(sentence.places.iter().all(|place| !sentence.text[place.clone()].is_empty()));
        // What is accepted is a tree, which scores itself fully and is the heaviest of itself.
        let mut planted = Square::zeros(words);
        for (word, head) in sentence.gold.heads.iter().enumerate() {
            if let Some(head) = head {
                planted.values[word * words + head] = 1.0;
            }
        }
        let hits = Hits::of(&sentence.gold, &sentence.gold.heads);
        assert_eq!(hits.directed, hits.arcs);
        if words < 16 {
            assert_eq!(tree_heads(&planted), sentence.gold.heads);
        }
    }
}
