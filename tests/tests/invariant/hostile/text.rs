//! Configurations, definitions, parametrizations, manifests, tables.

use std::fs;

use harness::config::model::ModelConfig;
use harness::config::overrides;
use harness::config::run::RunConfig;
use harness::experiment::definition::Definition;
use harness::experiment::record;
use harness::ledger::Manifest;
use models::family::FamilyConfig;
use models::parametrization::Parametrization;
use models::pt2026::Pt2026Config;
use proptest::prelude::*;

use super::cases;
use super::mutation::{changes, damaged, damaged_text};

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn invariant_hostile_run_configurations_are_values_or_errors(changes in changes()) {
        let text = damaged_text(RUN, &changes);
        if let Ok(run) = RunConfig::from_toml("run.toml", &text) {
            // Counting parameters allocates none.
            if let Ok(layout) = run.model.layout() {
                let _ = run.model.forward_flops(run.data.length);
                let _ = (layout.total(), run.validate());
            }
        }
    }

    #[test]
    fn invariant_hostile_assignments_are_values_or_errors(changes in changes()) {
        let mut table = toml::Table::new();
        let text = damaged_text("model.pt.width=64", &changes);
        if overrides::set(&mut table, &text).is_ok() {
            let _ = RunConfig::from_table(&table);
        }
    }

    #[test]
    fn invariant_hostile_definitions_are_values_or_errors(changes in changes()) {
        let quick = include_str!("../../../../harness/src/config/presets/quick.toml");
        let text = damaged_text(quick, &changes);
        if let Ok(definition) = Definition::parse("definition.toml", &text) {
            for family in ["pt", "bert", "preln", "ut"] {
                let template: Option<ModelConfig> = definition.template(family, None, 300).ok();
                let _ = template.map(|template| template.layout().map(|layout| layout.total()));
            }
        }
    }

    #[test]
    fn invariant_hostile_parametrizations_are_values_or_errors(changes in changes()) {
        let table = include_str!("../../../../models/src/parametrization/tables/completep.toml");
        if let Ok(table) = Parametrization::parse("own.toml", &damaged_text(table, &changes)) {
            let base = Pt2026Config { vocab: 64, width: 16, ..Pt2026Config::default() };
            let wide = base.at_width(32);
            let (layout, base_layout) = (wide.layout().unwrap(), base.layout().unwrap());
            let _ = table.resolve((&layout, wide.dimensions()), (&base_layout, base.dimensions()));
        }
    }

    #[test]
    fn invariant_hostile_manifests_are_values_or_errors(changes in changes()) {
        let folder = tempfile::tempdir().unwrap();
        let bytes = damaged(MANIFEST.as_bytes(), &changes);
        fs::write(folder.path().join("manifest.json"), bytes).unwrap();
        let _ = Manifest::read(folder.path());
    }

    #[test]
    fn invariant_hostile_tables_are_values_or_errors(changes in changes()) {
        let folder = tempfile::tempdir().unwrap();
        let evaluation = b"step,loss_nats,targets\n10,5.25,900\n20,5.125,900\n";
        fs::write(folder.path().join("evaluation.csv"), damaged(evaluation, &changes)).unwrap();
        let documents = b"document,loss_nats_sum,targets\n0,52.5,10\n1,40.25,9\n";
        fs::write(folder.path().join("documents.csv"), damaged(documents, &changes)).unwrap();
        let _ = record::read_evaluations(folder.path());
        let _ = record::read_documents(folder.path());
    }
}

#[test]
fn invariant_hostile_manifest_starts_from_a_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("manifest.json"), MANIFEST).unwrap();
    let manifest = Manifest::read(folder.path()).unwrap().expect("the sample is a manifest");
    assert!(manifest.is_done(), "the sample is a finished run");
}
