//! `crossscale compare RUN RUN`: two finished runs, on the targets that both were evaluated on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cmd::{print, print_wrapped};
use crate::error::{HarnessError, Result};
use crate::experiment::words::{count, with_interval};
use crate::ledger::{Ledger, MANIFEST_FILE, Manifest, RunStatus};
use crate::runs::record::read_documents;
use crate::runs::table::flattened;
use crate::statistics::{
    self, Comparison, DocumentLoss, EQUIVALENCE_MARGIN_NATS, document_differences,
};
use crate::train::Divergence;

/// Keys of the data table on which the evaluated targets depend, beside text and tokenizer.
const OF_TARGETS: [&str; 4] = ["length", "packing", "masking", "evaluation"];
/// Keys in which seeds of one configuration differ.
const OF_SEEDS: [&str; 2] = ["seed", "data_seed"];
/// Keys in which two runs may differ that a line lists.
const LISTED: usize = 8;

/// A finished run.
struct Finished {
    manifest: Manifest,
    loss_nats: f64,
    documents: Vec<DocumentLoss>,
}

/// Runs of one configuration, a seed each.
struct Side {
    runs: Vec<Finished>,
}

/// Compares the runs in two folders.
pub(super) fn compare(candidate: &Path, baseline: &Path, as_json: bool) -> Result<()> {
    let sides = [Side::read(candidate)?, Side::read(baseline)?];
    let [a, b] = &sides;
    if a.first().run == b.first().run {
        return Err(HarnessError::config(
            format!("both are run {}", a.first().run),
            "name two runs; crossscale runs FOLDER lists those of a folder",
        ));
    }
    require_same_targets(a, b)?;
    let (parts, unit) = differences(a, b)?;
    let found = statistics::compare_family(&[parts], EQUIVALENCE_MARGIN_NATS).remove(0);
    let differing = differing(a.first(), b.first());
    if as_json {
        return print(&in_json(&sides, &found, unit, &differing).to_string());
    }
    print_wrapped(&in_words(&sides, &found, unit, &differing))
}

impl Side {
    fn read(path: &Path) -> Result<Self> {
        let mut runs = Vec::new();
        for folder in folders(path)? {
            runs.push(finished(&folder)?);
        }
        runs.sort_by_key(Finished::seed);
        let Some(first) = runs.first() else {
            let hint = "name a run folder, or a folder that train --out made";
            return Err(HarnessError::input(path, "holds no run", hint));
        };
        let other = runs.iter().find(|run| run.without_seeds() != first.without_seeds());
        if let Some(other) = other {
            return Err(HarnessError::config(
                format!(
                    "{} holds runs of several configurations, such as {} and {}",
                    path.display(),
                    first.manifest.run,
                    other.manifest.run
                ),
                format!("name one: {}/runs/{}", path.display(), first.manifest.run),
            ));
        }
        Ok(Self { runs })
    }

    fn first(&self) -> &Manifest {
        &self.runs[0].manifest
    }

    fn loss_nats(&self) -> f64 {
        self.runs.iter().map(|run| run.loss_nats).sum::<f64>() / self.runs.len() as f64
    }

    fn losses(&self) -> Vec<(u64, f64)> {
        self.runs.iter().map(|run| (run.seed(), run.loss_nats)).collect()
    }

    fn words(&self) -> String {
        let seeds = match self.runs.len() {
            1 => String::new(),
            several => format!(", mean of {several} seeds"),
        };
        format!("{}: held-out loss {:.4} nats{seeds}", self.first().run, self.loss_nats())
    }
}

impl Finished {
    fn seed(&self) -> u64 {
        self.manifest.config["seed"].as_u64().unwrap_or_default()
    }

    fn without_seeds(&self) -> Value {
        let mut config = self.manifest.config.clone();
        if let Some(table) = config.as_object_mut() {
            table.retain(|key, _| !OF_SEEDS.contains(&key.as_str()));
        }
        config
    }
}

/// The run folders that `path` means: itself, or all of its ledger.
fn folders(path: &Path) -> Result<Vec<PathBuf>> {
    if path.join(MANIFEST_FILE).is_file() {
        return Ok(vec![path.to_owned()]);
    }
    if !path.join("runs").is_dir() {
        return Ok(Vec::new());
    }
    let manifests = Ledger::open(path)?.manifests()?;
    Ok(manifests.into_iter().map(|(folder, _)| folder).collect())
}

fn finished(folder: &Path) -> Result<Finished> {
    let manifest = Manifest::read(folder)?.ok_or_else(|| {
        HarnessError::input(folder, "is no run folder", "it must hold a manifest.json")
    })?;
    let run = manifest.run.clone();
    let result = manifest.result.as_ref();
    if let Some(reason) = result.and_then(|result| result.divergence.as_ref()) {
        return Err(Divergence::of_run(&run, reason));
    }
    let loss = result.and_then(|result| result.loss_nats);
    let (RunStatus::Finished, Some(loss_nats)) = (manifest.status, loss) else {
        return Err(HarnessError::input(
            folder,
            format!("run {run} is not finished"),
            "run its command again to go on from its last checkpoint (command in manifest.json)",
        ));
    };
    let documents = read_documents(folder)?.into_iter().map(|document| DocumentLoss {
        loss_nats_sum: document.loss_nats_sum,
        targets: document.targets,
    });
    Ok(Finished { loss_nats, documents: documents.collect(), manifest })
}

/// Losses on other targets are not to be compared.
fn require_same_targets(a: &Side, b: &Side) -> Result<()> {
    let (a, b) = (a.first(), b.first());
    let (of_a, of_b) = (&a.config["data"], &b.config["data"]);
    for key in OF_TARGETS {
        if of_a[key] != of_b[key] {
            return Err(HarnessError::config(
                format!(
                    "{} and {} were evaluated on other targets: data.{key} is {} in one, {} in the \
                     other",
                    a.run, b.run, of_a[key], of_b[key]
                ),
                format!("train one of them again with the data.{key} of the other"),
            ));
        }
    }
    if a.data_fingerprint != b.data_fingerprint {
        return Err(HarnessError::config(
            format!("{} and {} are of different texts or tokenizers", a.run, b.run),
            "train one of them again with --text and data.tokenizer of the other: losses per \
             token of two texts or tokenizers cannot be compared",
        ));
    }
    Ok(())
}

/// Differences to test, by seed where both sides have seeds in common, else by document.
fn differences(a: &Side, b: &Side) -> Result<(Vec<f64>, &'static str)> {
    let by_seed = statistics::pair_common_seeds(&a.losses(), &b.losses())?.differences();
    if by_seed.len() > 1 {
        return Ok((by_seed, "seed"));
    }
    if a.runs.len() > 1 || b.runs.len() > 1 {
        return Err(HarnessError::config(
            format!("{} and {} have fewer than two seeds in common", a.first().run, b.first().run),
            "name one run folder of each, or train the missing seeds",
        ));
    }
    let parts = document_differences(&a.runs[0].documents, &b.runs[0].documents);
    let parts = parts.ok_or_else(|| {
        HarnessError::config(
            format!("documents.csv of {} and {} differ in targets", a.first().run, b.first().run),
            "was one of them changed? train that run again",
        )
    })?;
    Ok((parts, "document"))
}

/// Keys in which two configurations differ, with both values.
fn differing(a: &Manifest, b: &Manifest) -> Vec<(String, Value, Value)> {
    let (a, b): (BTreeMap<_, _>, BTreeMap<_, _>) = (flattened(&a.config), flattened(&b.config));
    let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let value = |map: &BTreeMap<String, Value>, key: &String| map.get(key).cloned();
    keys.into_iter()
        .filter(|key| a.get(*key) != b.get(*key))
        .map(|key| {
            let (of_a, of_b) = (value(&a, key), value(&b, key));
            (key.clone(), of_a.unwrap_or_default(), of_b.unwrap_or_default())
        })
        .collect()
}

fn in_words(
    sides: &[Side; 2],
    found: &Comparison,
    unit: &str,
    differing: &[(String, Value, Value)],
) -> String {
    let [a, b] = sides;
    let shown = |value: &Value| if value.is_null() { "none".to_owned() } else { value.to_string() };
    let mut keys: Vec<String> = differing
        .iter()
        .take(LISTED)
        .map(|(key, a, b)| format!("{key} {} against {}", shown(a), shown(b)))
        .collect();
    if differing.len() > LISTED {
        keys.push(format!("{} more", differing.len() - LISTED));
    }
    let mut lines = vec![a.words(), b.words(), format!("they differ in {}", keys.join(", "))];
    if let Some(difference) = found.difference {
        let p = found.p_value.map_or("no p".to_owned(), |p| format!("p = {p:.2e}"));
        let of = count(difference.n as u64, unit);
        let value = with_interval(difference.mean, difference.interval, 4);
        lines.push(format!("difference {value} nats over {of}; {p}"));
    }
    lines.push(format!("{} is: {}", a.first().run, found.verdict));
    if unit == "document" {
        lines.push(
            "one run of each: interval and verdict are of these two runs and of other documents, \
             not of other seeds"
                .to_owned(),
        );
    }
    lines.join("\n")
}

fn in_json(
    sides: &[Side; 2],
    found: &Comparison,
    unit: &str,
    differing: &[(String, Value, Value)],
) -> Value {
    let side = |side: &Side| {
        let runs: Vec<&str> = side.runs.iter().map(|run| run.manifest.run.as_str()).collect();
        json!({ "runs": runs, "loss_nats": side.loss_nats() })
    };
    let interval = found.difference.and_then(|difference| difference.interval);
    let keys = differing.iter().map(|(key, candidate, baseline)| {
        json!({ "key": key, "candidate": candidate, "baseline": baseline })
    });
    json!({
        "candidate": side(&sides[0]), "baseline": side(&sides[1]),
        "difference_nats": found.difference.map(|difference| difference.mean),
        "ci_low_nats": interval.map(|interval| interval.low),
        "ci_high_nats": interval.map(|interval| interval.high),
        "p_value": found.p_value, "verdict": found.verdict,
        "n": found.difference.map(|difference| difference.n), "over": format!("{unit}s"),
        "differing": keys.collect::<Vec<Value>>(),
    })
}
