//! Weights of other programs that are not what they are taken for.

use std::collections::BTreeMap;

use harness::weights::{TensorFile, file};

use super::*;

/// Shape and entries by name.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Writes the file of weights `from` to `to` with metadata and tensors `change`d.
pub fn rewrite(
    from: &Path,
    to: &Path,
    change: impl FnOnce(&mut BTreeMap<String, String>, &mut Tensors),
) {
    let mut source = TensorFile::open(from).unwrap();
    let names: Vec<String> = source.names().map(ToOwned::to_owned).collect();
    let mut tensors = BTreeMap::new();
    for name in names {
        let shape = source.shape(&name).unwrap().to_vec();
        let values = source.read(&name, &shape).unwrap();
        tensors.insert(name, (shape, values));
    }
    let mut metadata = source.metadata().clone();
    change(&mut metadata, &mut tensors);
    let named: Vec<file::Named> = tensors
        .iter()
        .map(|(name, (shape, values))| (name.clone(), &shape[..], &values[..]))
        .collect();
    file::write(to, &metadata, &named).unwrap();
}

/// Files that hold the tensors of a small BERT, in Hugging Face's names, in one way or another.
fn variants(folder: &Path) {
    let write = |to: &str, change: &dyn Fn(&mut Tensors)| {
        let to = folder.join(to);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        rewrite(&folder.join("bert.safetensors"), &to, |metadata, tensors| {
            metadata.clear();
            change(tensors);
        });
    };
    write("whole/m.safetensors", &|_| ());
    let prefixed = |prefix: &'static str| {
        move |tensors: &mut Tensors| {
            let old = std::mem::take(tensors);
            tensors.extend(old.into_iter().map(|(name, value)| (format!("{prefix}{name}"), value)));
        }
    };
    write("c/m.safetensors", &prefixed("_orig_mod."));
    write("d/m.safetensors", &prefixed("module."));
    write("bare/m.safetensors", &|tensors| {
        let old = std::mem::take(tensors);
        let inner =
            |(name, value): (String, _)| Some((name.strip_prefix("bert.")?.to_owned(), value));
        tensors.extend(old.into_iter().filter_map(inner));
    });
    write("headless/m.safetensors", &|tensors| tensors.retain(|name, _| name.starts_with("bert.")));
    write("s/model-00001-of-00002.safetensors", &|tensors| {
        let names: Vec<String> = tensors.keys().skip(8).cloned().collect();
        for name in &names {
            tensors.remove(name);
        }
    });
    write("other/m.safetensors", &|tensors| {
        tensors.clear();
        tensors.insert("something.else".to_owned(), (vec![1], vec![0.5]));
    });
    write("bias/m.safetensors", &|tensors| {
        tensors.get_mut("cls.predictions.decoder.bias").unwrap().1[0] += 1.0;
    });
    write("untied/m.safetensors", &|tensors| {
        tensors.get_mut("cls.predictions.decoder.weight").unwrap().1[0] += 1.0;
    });
}

#[test]
fn cli_import_says_what_a_file_is_instead_and_its_hints_are_followed() {
    let folder = TempDir::new().unwrap();
    text(folder.path());
    let cli = |arguments: &[&str]| crossscale(folder.path(), arguments);
    let shape = ["--set", "model.head_dim=8", "--set", "model.layers=1"];
    let bert = [&["--model", "bert", "--width", "16", "--steps", "1"], &shape[..]].concat();
    let trained = train(folder.path(), "run", &bert);
    assert!(trained.status.success(), "{}", stderr(&trained));
    assert!(cli(&["export", "run", "--out", "bert.safetensors"]).status.success());
    let vocab = TensorFile::open(&folder.path().join("bert.safetensors")).unwrap();
    let vocab = vocab.shape("bert.embeddings.word_embeddings.weight").unwrap()[0];
    let vocab = format!("model.vocab={vocab}");
    let import = |file: &str, more: &[&str]| {
        let sizes = ["--set", &vocab, "--set", "model.width=16"];
        cli(&[&["import", file, "--model", "bert", "--out", "in"][..], &sizes, &shape, more]
            .concat())
    };
    variants(folder.path());
    let whole = import("whole/m.safetensors", &[]);
    assert!(whole.status.success(), "{}", stderr(&whole));
    let cases = [
        ("c/m.safetensors", "has no tensor", "save model._orig_mod"),
        ("d/m.safetensors", "has no tensor", "save model.module"),
        ("bare/m.safetensors", "the file holds embeddings.", "save BertForMaskedLM"),
        ("headless/m.safetensors", "are missing", "no language-model head"),
        ("s/model-00001-of-00002.safetensors", "are missing", "one of several"),
        ("other/m.safetensors", "the file holds something.else", "of this family"),
        ("bias/m.safetensors", "differ", "under both"),
        ("untied/m.safetensors", "differ", "--set model.tied=false"),
    ];
    for (file, problem, remedy) in cases {
        let tied = ["--set", "model.tied=true"];
        let output = import(file, if file.starts_with("untied") { &tied } else { &[] });
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{file}: {message}");
        let (told, hint) = message.split_once("\nhint: ").expect("a hint");
        assert!(told.contains(problem) && hint.contains(remedy), "{file}: {message}");
    }
    // The one hint that is a command.
    let followed = import("untied/m.safetensors", &["--set", "model.tied=false"]);
    assert!(followed.status.success(), "{}", stderr(&followed));
    for key in ["is_decoder", "add_cross_attention", "is_encoder_decoder"] {
        let config = format!(
            "{{\"model_type\": \"bert\", \"tie_word_embeddings\": false, \"{key}\": true}}"
        );
        std::fs::write(folder.path().join("whole/config.json"), config).unwrap();
        let output = import("whole/m.safetensors", &[]);
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        assert!(stderr(&output).contains(&format!("config.json: {key} is true")));
        let no = format!(
            "{{\"model_type\": \"bert\", \"tie_word_embeddings\": false, \"{key}\": false}}"
        );
        std::fs::write(folder.path().join("whole/config.json"), no).unwrap();
        let output = import("whole/m.safetensors", &[]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
}
