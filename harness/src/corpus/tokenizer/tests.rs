//! Tokenizers: determinism, cache, files, round trips.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;
use crate::corpus::embedded;

fn bpe(vocab: usize) -> TokenizerConfig {
    TokenizerConfig { vocab, ..TokenizerConfig::default() }
}

fn documents(texts: &[&str]) -> Vec<Document> {
    let document = |text: &&str| Document { name: "d".into(), text: (*text).to_owned() };
    texts.iter().map(document).collect()
}

/// A part of the embedded corpus large enough for a few thousand merges.
fn addresses() -> Vec<Document> {
    embedded::documents().validation
}

#[test]
fn invariant_pieces_join_to_the_text() {
    let text = "one\n\ntwo\r\nthree — \n\u{2003}four\n five\nsix\n";
    for size in 0..10 {
        assert_eq!(pieces(text, size).concat(), text);
    }
    let cut = ["one\n", "\ntwo\r", "\nthree — \n\u{2003}four\n five", "\nsix\n"];
    assert_eq!(pieces(text, 0), cut);
    assert_eq!(pieces("", 4), [""]);
}

#[test]
fn invariant_pieces_encode_to_what_the_whole_would() {
    let documents = addresses();
    let tokenizer = Tokenizer::prepare(&bpe(600), &documents, None).unwrap();
    let Engine::Subwords(engine) = &tokenizer.engine else { unreachable!("kind is bpe") };
    let ids = |piece: &str| engine.encode_fast(piece, false).unwrap().get_ids().to_vec();
    let text = &documents[0].text;
    let in_pieces: Vec<u32> = pieces(text, 100).into_iter().flat_map(ids).collect();
    assert!(pieces(text, 100).len() > 50);
    assert_eq!(in_pieces, ids(text));
    assert_eq!(tokenizer.encode(text).unwrap(), in_pieces);
}

#[test]
fn invariant_training_twice_gives_the_same_merges() {
    let documents = addresses();
    for vocab in [300, 3_000] {
        let one = Tokenizer::prepare(&bpe(vocab), &documents, None).unwrap();
        let other = Tokenizer::prepare(&bpe(vocab), &documents, None).unwrap();
        assert_eq!(one.fingerprint(), other.fingerprint());
        assert_eq!(one.vocabulary().size, vocab);
    }
}

#[test]
fn golden_training_gives_the_recorded_merges() {
    // From an independent implementation: at each step the most frequent pair is merged, ties go
    // to the lowest pair of ids (the third merge decides among four pairs). Fails when another
    // version of the trainer breaks ties differently: results would change.
    let text = "low lower lowest newer newest wider widest low low new new";
    let tokenizer = Tokenizer::prepare(&bpe(270), &documents(&[text]), None).unwrap();
    let merged = |id| tokenizer.decode(&[id]).unwrap();
    let merges: Vec<String> = (260..270).map(merged).collect();
    assert_eq!(merges, ["lo", "low", "ew", "new", " low", " new", "er", "es", "est", "id"]);
    assert_eq!(tokenizer.encode("lower newest").unwrap(), [261, 266, 265, 268]);
}

#[test]
fn invariant_the_cache_gives_what_training_gives_and_repairs_itself() {
    let folder = tempfile::tempdir().unwrap();
    let documents = documents(&["some words and more words", "and more"]);
    let prepare =
        |vocab, cache| Tokenizer::prepare(&bpe(vocab), &documents, cache).unwrap().fingerprint();
    let names = || {
        let entry = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().path();
        let mut names: Vec<PathBuf> = fs::read_dir(folder.path()).unwrap().map(entry).collect();
        names.sort();
        names
    };
    let expected = prepare(264, None);
    let cache = Some(folder.path());
    assert_eq!(prepare(264, cache), expected);
    assert_eq!(prepare(264, cache), expected);
    assert_eq!(names().len(), 2, "one tokenizer with its hash");
    // Another valid tokenizer in its place is found out by the hash.
    let (hash, json) = (names()[0].clone(), names()[1].clone());
    let original = fs::read(&json).unwrap();
    let other = String::from_utf8(original.clone()).unwrap().replacen("\"!\":4", "\"!\":5", 1);
    fs::write(&json, &other).unwrap();
    assert_ne!(other.as_bytes(), original);
    assert_eq!(prepare(264, cache), expected);
    assert_eq!(fs::read(&json).unwrap(), original, "the damaged file is replaced");
    fs::remove_file(hash).unwrap();
    assert_eq!(prepare(264, cache), expected);
    assert_ne!(prepare(263, cache), expected);
    assert_eq!(names().len(), 4, "settings are part of the key");
}

#[test]
fn invariant_words_are_ranked_by_count_then_bytes() {
    let kind = TokenizerKind::Words;
    let config = TokenizerConfig { kind, vocab: 7, min_frequency: 2, ..TokenizerConfig::default() };
    let text = "b a b c c a <unk> <unk> <unk>\nd e e f f";
    let tokenizer = Tokenizer::prepare(&config, &documents(&[text]), None).unwrap();
    assert_eq!(tokenizer.vocabulary().size, 7);
    let ids = tokenizer.encode("a b\nc d <mask> e  f").unwrap();
    assert_eq!(ids, [4, 5, 6, 1, 1, 1, 1]);
    assert_eq!(tokenizer.decode(&ids[..4]).unwrap(), "a b c <unk>");
}

/// Writes a `tokenizer.json` of whole words with the given special tokens.
fn tokenizer_file(folder: &Path, special: &[&str]) -> PathBuf {
    let added: Vec<serde_json::Value> = special
        .iter()
        .enumerate()
        .map(|(id, token)| {
            serde_json::json!({ "id": id, "content": token, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false, "special": true })
        })
        .collect();
    let words = ["one", "two", "three"];
    let vocab: serde_json::Map<String, serde_json::Value> =
        special.iter().chain(&words).enumerate().map(|(id, t)| ((*t).into(), id.into())).collect();
    let json = serde_json::json!({ "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added, "normalizer": null, "pre_tokenizer": { "type": "Whitespace" },
        "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": special[0] } });
    let path = folder.join("tokenizer.json");
    fs::write(&path, json.to_string()).unwrap();
    path
}

#[test]
fn invariant_files_need_a_mask_token() {
    let folder = tempfile::tempdir().unwrap();
    let load = |special: &[&str], mask: &str, separator: Option<&str>| {
        let config = TokenizerConfig {
            kind: TokenizerKind::File,
            path: Some(tokenizer_file(folder.path(), special)),
            mask_token: mask.into(),
            separator_token: separator.map(str::to_owned),
            ..TokenizerConfig::default()
        };
        Tokenizer::prepare(&config, &[], None).map_err(|problem| problem.to_string())
    };
    let bert = load(&["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"], "[MASK]", None).unwrap();
    let vocabulary = bert.vocabulary();
    assert_eq!((vocabulary.size, vocabulary.special.as_slice()), (8, &[0, 1, 2, 3, 4][..]));
    assert_eq!((vocabulary.unknown, vocabulary.padding), (Some(0), 1));
    assert_eq!((vocabulary.separator, vocabulary.mask), (3, 4));
    assert_eq!(vocabulary.ordinary(), [5, 6, 7]);
    assert_eq!(bert.encode("two four one").unwrap(), [6, 0, 5]);
    assert!(!bert.encode("one [MASK]").unwrap().contains(&4), "text never makes a mask");

    let text = load(&["<unk>", "</s>"], "[MASK]", None).unwrap_err();
    assert!(text.contains("no token \"[MASK]\"") && text.contains("<unk>"), "{text}");
    let llama = load(&["<unk>", "</s>"], "<unk>", None).unwrap();
    let vocabulary = llama.vocabulary();
    assert_eq!((vocabulary.mask, vocabulary.separator, vocabulary.padding), (0, 1, 1));
    assert!(!vocabulary.maskable(true)[0], "the mask is never a target");
    let text = load(&["<unk>", "<m>"], "<m>", None).unwrap_err();
    assert!(text.contains("separator_token"), "{text}");
    assert_eq!(load(&["<unk>", "<m>"], "<m>", Some("two")).unwrap().vocabulary().separator, 3);
}

/// Loads a `tokenizer.json` after `change`.
fn changed(change: impl FnOnce(&mut serde_json::Value)) -> std::result::Result<Tokenizer, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = tokenizer_file(folder.path(), &["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"]);
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    fs::write(&path, json.to_string()).unwrap();
    let kind = TokenizerKind::File;
    let config = TokenizerConfig { kind, path: Some(path), ..TokenizerConfig::default() };
    Tokenizer::prepare(&config, &[], None).map_err(|problem| problem.to_string())
}

#[test]
fn invariant_added_tokens_keep_their_ids_or_are_refused() {
    let vocab = |json: &mut serde_json::Value, token: &str| {
        json["model"]["vocab"].as_object_mut().unwrap().remove(token);
    };
    // Declared as 4, but the library takes the number of words that the model has.
    let shifted = changed(|json| vocab(json, "[MASK]")).unwrap_err();
    assert!(shifted.contains("\"[MASK]\" as id 4") && shifted.contains("gives it 7"), "{shifted}");
    assert!(shifted.contains("model.vocab as 4") && shifted.contains("hint: "), "{shifted}");
    let other = changed(|json| json["added_tokens"][2]["id"] = 6.into()).unwrap_err();
    assert!(other.contains("\"[CLS]\" as id 6") && other.contains("gives it 2"), "{other}");
    let added = |id: u32| {
        serde_json::json!({ "id": id, "content": "<new>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": false })
    };
    let push = |json: &mut serde_json::Value, id: u32| {
        json["added_tokens"].as_array_mut().unwrap().push(added(id));
    };
    assert_eq!(changed(|json| push(json, 8)).unwrap().encode("<new> one").unwrap(), [8, 5]);
    assert!(changed(|json| push(json, 90)).unwrap_err().contains("\"<new>\" as id 90"));
}

#[test]
fn invariant_ids_without_a_token_are_neither_replacements_nor_targets() {
    let whole = changed(|_| ()).unwrap();
    let holes = changed(|json| json["model"]["vocab"]["three"] = 40.into()).unwrap();
    let vocabulary = holes.vocabulary();
    assert_eq!(vocabulary.size, 41);
    assert_eq!(vocabulary.ordinary(), [5, 6, 40]);
    assert_eq!(whole.vocabulary().ordinary(), [5, 6, 7]);
    let targets = vocabulary.maskable(true).into_iter().filter(|target| *target).count();
    assert_eq!(targets, 4, "three words and the unknown one");
    let absurd = changed(|json| json["model"]["vocab"]["three"] = u32::MAX.into()).unwrap_err();
    assert!(absurd.contains("4294967295") && absurd.contains("ids up to"), "{absurd}");
}

/// Lines of words and punctuation, more than one piece.
fn long_text() -> String {
    let words = ["one", "two", "three", "four.", "(five)", "one!", "two\n", "\tthree"];
    let text: Vec<&str> = (0..30_000).map(|i: usize| words[(i * i / 3 + i) % 8]).collect();
    text.chunks(11).map(|line| line.join(" ")).collect::<Vec<_>>().join("\n")
}

#[test]
fn invariant_files_encode_long_texts_to_what_the_library_gives_for_the_whole() {
    let text = long_text();
    assert!(pieces(&text, PIECE_BYTES).len() > 1);
    let replace =
        serde_json::json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
    let prepend = serde_json::json!({ "type": "Prepend", "prepend": "▁" });
    let llama = serde_json::json!({ "type": "Sequence", "normalizers": [prepend, replace] });
    let bytes = |prefix: bool, regex: bool| {
        serde_json::json!({ "type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true,
            "use_regex": regex })
    };
    let metaspace = serde_json::json!({ "type": "Metaspace", "replacement": "▁",
        "prepend_scheme": "always", "split": true });
    let pattern = serde_json::json!({ "Regex": "\\p{L}+|[^\\s\\p{L}]+[\\r\\n]*|\\s+" });
    let split = serde_json::json!({ "type": "Split", "pattern": pattern, "behavior": "Isolated",
        "invert": false });
    let plain = |kind: &str| serde_json::json!({ "type": kind });
    let none = serde_json::Value::Null;
    for (normalizer, words, in_pieces) in [
        (llama, none.clone(), false),
        (none.clone(), bytes(true, true), false),
        (none.clone(), bytes(false, true), true),
        (none.clone(), bytes(false, false), false),
        (none.clone(), metaspace, false),
        (none.clone(), split, false),
        (none.clone(), plain("WhitespaceSplit"), true),
        (none.clone(), plain("BertPreTokenizer"), true),
        (plain("Lowercase"), plain("BertPreTokenizer"), false),
        (none, serde_json::Value::Null, false),
    ] {
        let name = format!("{normalizer} {words}");
        let tokenizer = changed(|json| {
            json["normalizer"] = normalizer;
            json["pre_tokenizer"] = words;
            // Bytes as tokens, without merges: every letter shows where words begin.
            let special = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned);
            let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
            let mut letters: Vec<String> = alphabet.into_iter().map(String::from).collect();
            letters.extend(["▁", " ", "\n", "\t"].map(str::to_owned));
            letters.sort();
            letters.dedup();
            let vocab = special.into_iter().chain(letters).zip(0u32..);
            let vocab: serde_json::Map<String, serde_json::Value> =
                vocab.map(|(token, id)| (token, id.into())).collect();
            json["model"] = serde_json::json!({ "type": "BPE", "vocab": vocab, "merges": [],
                "unk_token": "[UNK]", "fuse_unk": false });
        });
        let tokenizer = tokenizer.unwrap();
        let Engine::Subwords(engine) = &tokenizer.engine else { unreachable!("kind is file") };
        assert_eq!(borders::cuts_at_line_ends(engine), in_pieces, "{name}");
        let whole = engine.encode_fast(text.as_str(), false).unwrap().get_ids().to_vec();
        assert!(tokenizer.encode(&text).unwrap() == whole, "{name}");
    }
}

#[test]
fn invariant_bad_tokenizer_files_are_input_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let config = TokenizerConfig {
        kind: TokenizerKind::File,
        path: Some(path.clone()),
        ..TokenizerConfig::default()
    };
    let load = || Tokenizer::prepare(&config, &[], None).unwrap_err();
    assert_eq!(load().exit_code(), 3);
    for bytes in [&b""[..], b"{}", b"\xff\xfe", b"{\"model\": {\"type\": \"BPE\"}}"] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(load().exit_code(), 3);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn invariant_any_text_survives_byte_pairs(
        text in "\\PC{0,80}",
        ids in proptest::collection::vec(0u32..400, 0..40),
    ) {
        static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
        let train = || {
            let documents = documents(&["some words and other words"]);
            Tokenizer::prepare(&bpe(300), &documents, None).unwrap()
        };
        let tokenizer = TOKENIZER.get_or_init(train);
        prop_assert_eq!(&tokenizer.decode(&tokenizer.encode(&text).unwrap()).unwrap(), &text);
        let outside = ids.iter().any(|&id| id as usize >= tokenizer.vocabulary().size);
        prop_assert_eq!(tokenizer.decode(&ids).is_err(), outside);
    }
}
