//! A damaged file of every kind that docs/format.md lists: the message names it and what to do.

use std::fs;

use harness::config::data::{DataConfig, Packing, TokenizerConfig, TokenizerKind};
use harness::corpus::{Corpus, Document, DocumentSplits, token_folder};

use super::*;

const JUNK: &[u8] = b"\xff\xfe\x00[[=junk";

/// What happened to a file: replaced by junk, cut in the middle, emptied.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Junk,
    Cut,
    Empty,
}

use Damage::{Cut, Empty, Junk};

impl Damage {
    fn of(self, whole: &[u8]) -> Vec<u8> {
        match self {
            Junk => JUNK.to_vec(),
            Cut => whole[..whole.len() / 2].to_vec(),
            Empty => Vec::new(),
        }
    }
}

/// Damages `file` of `folder` in turn and runs `command` on it: an error of exit code 2 or 3 that
/// names the file and a remedy. The file is whole again afterwards.
fn check(folder: &Path, file: &str, damages: &[Damage], command: &[&str]) {
    let path = folder.join(file);
    let whole = fs::read(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
    for damage in damages {
        fs::write(&path, damage.of(&whole)).unwrap();
        let output = crossscale(folder, command);
        let message = stderr(&output);
        let code = output.status.code();
        assert!(matches!(code, Some(2 | 3)), "{file} {damage:?}: {code:?} {message}");
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(message.contains(&*name), "{file} {damage:?} is not named: {message}");
        assert!(message.contains("hint: "), "{file} {damage:?} has no remedy: {message}");
    }
    fs::write(&path, whole).unwrap();
}

/// A copy of a file of the repository in `folder`.
fn copy(folder: &Path, from: &str, to: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let to = folder.join(to);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(root.join(from), to).unwrap();
}

#[test]
fn cli_a_damaged_file_of_any_kind_that_is_given_is_named_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    copy(folder, "harness/experiments/presets/tour.toml", "tour.toml");
    copy(folder, "harness/experiments/rope.toml", "rope.toml");
    copy(folder, "models/src/parametrization/tables/pt-2026.toml", "own.toml");
    copy(folder, "ci/gates.toml", "gates.toml");
    copy(folder, "golden/known_answers/pt2026/exact_rope.safetensors", "answer.safetensors");
    copy(folder, "golden/parametrizations.toml", "golden/parametrizations.toml");
    for family in ["pt", "pt2023", "bert", "preln", "ut"] {
        let recorded = format!("golden/activations/{family}.toml");
        copy(folder, &recorded, &recorded);
    }
    fs::write(folder.join("run.toml"), "[train]\nsteps = 3\nbatch = [4]\n").unwrap();
    let explain = ["explain", "--model", "pt", "--width", "64", "--parametrization", "own.toml"];
    let all = [Junk, Cut, Empty];
    let with = ["train", "--model", "pt", "--out", "x", "--config", "run.toml"];
    check(folder, "run.toml", &[Junk, Cut], &with);
    check(folder, "tour.toml", &all, &["reproduce", "--preset", "tour.toml", "--dry-run"]);
    check(folder, "rope.toml", &all, &["run", "rope.toml", "--dry-run"]);
    check(folder, "own.toml", &all, &explain);
    // Cut between two trainings it would be a sound file of the first.
    check(folder, "gates.toml", &[Junk, Empty], &["regress", "--gates", "gates.toml"]);
    check(folder, "answer.safetensors", &all, &["parity", "answer.safetensors"]);
    let bless = ["bless", "--family", "ut", "--golden", "golden"];
    check(folder, "golden/activations/ut.toml", &all, &bless);
    let mutate = ["mutate", "--table", "standard", "--rule", "none", "--golden", "golden"];
    check(folder, "golden/parametrizations.toml", &all, &mutate);
    // The config.json beside weights of another program, here a file without tensors.
    fs::write(folder.join("theirs.safetensors"), [&2u64.to_le_bytes()[..], b"{}"].concat())
        .unwrap();
    fs::write(folder.join("config.json"), "{\"hidden_size\": 64}").unwrap();
    let import = ["import", "theirs.safetensors", "--model", "bert", "--out", "in"];
    check(folder, "config.json", &all, &import);
    assert!(!folder.join("x").exists() && !folder.join("in").exists(), "something half-written");
}

#[test]
fn cli_damaged_texts_tokenizers_and_token_folders_are_named_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    text(folder);
    let plain = fs::read(folder.join("text.txt")).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &plain).unwrap();
    fs::write(folder.join("text.txt.gz"), packed.finish().unwrap()).unwrap();
    fs::write(folder.join("text.jsonl"), "{\"text\": \"a line of words\"}\n".repeat(3)).unwrap();
    fs::write(folder.join("text.jsonl.zst"), JUNK).unwrap();
    let train = |more: &[&'static str]| -> Vec<&'static str> {
        let mut arguments = vec!["train", "--model", "pt", "--width", "16", "--out", "x"];
        arguments.extend(more);
        arguments
    };
    check(folder, "text.txt", &[Junk, Empty], &train(&["--text", "text.txt"]));
    check(folder, "text.txt.gz", &[Junk, Cut], &train(&["--text", "text.txt.gz"]));
    check(folder, "text.jsonl", &[Junk, Cut, Empty], &train(&["--text", "text.jsonl"]));
    check(folder, "text.jsonl.zst", &[Junk, Empty], &train(&["--text", "text.jsonl.zst"]));

    let documents = |name: &str| {
        let text = "the people of this union have work to do and more\n".repeat(40);
        vec![Document { name: name.to_owned(), text }]
    };
    let splits =
        DocumentSplits { train: documents("a"), validation: documents("b"), test: documents("c") };
    let terms = token_folder::Terms { name: "test", source: "here", licence: "none" };
    for (place, kind, vocab) in
        [("words", TokenizerKind::Words, 20), ("bpe", TokenizerKind::Bpe, 270)]
    {
        let tokenizer = TokenizerConfig { kind, vocab, ..TokenizerConfig::default() };
        let config = DataConfig { tokenizer, length: 8, ..DataConfig::default() };
        let corpus = Corpus::from_documents(&splits, &config, None).unwrap();
        token_folder::write(&folder.join(place), &corpus, (Packing::Documents, kind), terms)
            .unwrap();
    }
    for place in ["words", "bpe"] {
        let command = train(&["--tokens", place]);
        let definition = if place == "words" { "words.txt" } else { "tokenizer.json" };
        let tokens = ["train.tokens", "validation.tokens", "test.tokens"];
        for file in ["corpus.toml", definition].into_iter().chain(tokens) {
            check(folder, &format!("{place}/{file}"), &[Junk, Cut, Empty], &command);
        }
    }
    fs::copy(folder.join("bpe/tokenizer.json"), folder.join("mine.json")).unwrap();
    let mut own = vec!["--text", "text.txt"];
    own.extend(&SMALL[..4]);
    own.extend(["--set", "data.tokenizer.kind=file", "--set", "data.tokenizer.path=mine.json"]);
    check(folder, "mine.json", &[Junk, Cut, Empty], &train(&own));
    assert!(!folder.join("x/runs").exists(), "something half-written");
}

/// Every file of a run folder: those of a finished run when it is read, those of an interrupted
/// one when it goes on.
#[test]
fn cli_a_damaged_file_of_a_run_is_named_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    text(folder);
    let more = ["--model", "pt", "--width", "16", "--steps", "6", "--set", "model.channels=2"];
    let more = [&more[..], &["--set", "train.checkpoint_every=2"]].concat();
    let again = || train(folder, "run", &more);
    let first = again();
    assert!(first.status.success(), "{}", stderr(&first));
    let run = run_folder(&folder.join("run"));
    let inside = run.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
    let file = |name: &str| format!("{inside}/{name}");
    let repeat = ["train", "--text", "text.txt", "--seed", "1", "--out", "run"];
    let repeat = [&repeat[..], &SMALL, &more].concat();
    let all = [Junk, Cut, Empty];
    check(folder, &file("manifest.json"), &all, &["evaluate", "run"]);
    check(folder, &file("evaluation.csv"), &all, &repeat);
    check(folder, &file("documents.csv"), &all, &repeat);
    check(folder, &file("weights.safetensors"), &all, &["evaluate", "run"]);
    check(folder, &file("weights.safetensors"), &all, &["export", "run", "--out", "x"]);
    let word = |id: &str, head: &str| format!("{id}\tpeople\t_\tNOUN\t_\t_\t{head}\tdep\t_\t_\n");
    let tree = word("1", "2") + &word("2", "0") + "\n";
    fs::write(folder.join("tree.conllu"), tree.repeat(4)).unwrap();
    check(folder, "tree.conllu", &[Junk, Empty], &["evaluate", "run", "--treebank", "tree.conllu"]);
    let short = ["evaluate", "run", "--treebank", "tree.conllu", "--select", "short.conllu"];
    fs::write(folder.join("short.conllu"), tree.replace("\tdep\t", "\tdep")).unwrap();
    check(folder, "short.conllu", &all, &short);
    let exported = crossscale(folder, &["export", "run", "--out", "out.safetensors"]);
    assert!(exported.status.success(), "{}", stderr(&exported));
    check(folder, "out.safetensors", &all, &["evaluate", "out.safetensors"]);
    check(
        folder,
        "out.safetensors",
        &all,
        &["import", "out.safetensors", "--model", "pt", "--out", "in"],
    );

    let evaluation = fs::read(run.join("evaluation.csv")).unwrap();
    // Opened again: the last checkpoint presupposes rows of the metrics.
    let manifest = fs::read_to_string(run.join("manifest.json")).unwrap();
    let running = manifest.replace("\"status\": \"finished\"", "\"status\": \"interrupted\"");
    assert_ne!(manifest, running);
    fs::write(run.join("manifest.json"), &running).unwrap();
    check(folder, &file("metrics.csv"), &all, &repeat);

    // These are passed over with a warning, and the run ends as if nothing had happened.
    let cached = fs::read_dir(folder.join("run/cache")).unwrap().map(|entry| entry.unwrap().path());
    let cached = cached.filter(|path| path.extension().is_some_and(|end| end == "json"));
    let cached = cached.last().expect("the tokenizer is cached");
    let newest = run.join("checkpoints/step-0000000006.safetensors");
    for (path, said) in [(cached, "training it again"), (newest, "is passed over")] {
        fs::write(run.join("manifest.json"), &running).unwrap();
        fs::write(&path, JUNK).unwrap();
        let output = again();
        let message = stderr(&output);
        assert!(output.status.success(), "{message}");
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(message.contains("warning: ") && message.contains(&*name), "{message}");
        assert!(message.contains(said), "{message}");
        assert!(!message.contains('\u{1b}'), "colours in a pipe: {message:?}");
    }
    assert_eq!(fs::read(run.join("evaluation.csv")).unwrap(), evaluation, "another result");
}
