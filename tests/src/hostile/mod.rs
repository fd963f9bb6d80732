//! What every reader is given that somebody else wrote, and what must hold whatever it says.
//!
//! The bounded tests (`invariant_hostile_*`) and the coverage-guided ones (`tests/fuzz`) both call
//! [`Reader::read`], so that they cannot come to test different things.

mod binary;
mod corpora;
mod text;

/// One kind of file, and the code that takes it in.
pub struct Reader {
    /// Kind of file, as in the names of its test and its fuzz target.
    pub name: &'static str,
    /// Whole files of this kind: a case damages one of them.
    pub samples: fn() -> &'static [Vec<u8>],
    /// Reads `bytes` in the place of the sample of that index. Panics if the reader does, or if
    /// it accepts what it must refuse.
    pub read: fn(sample: usize, bytes: &[u8]),
    /// Whether the files begin with the length of a header, which is where harm is done.
    pub safetensors: bool,
}

/// All of them.
pub const READERS: [Reader; 15] = [
    Reader::new("run_configurations", text::run_configuration_samples, text::run_configuration),
    Reader::new("assignments", text::assignment_samples, text::assignment),
    Reader::new("definitions", text::definition_samples, text::definition),
    Reader::new("experiments", text::experiment_samples, text::experiment),
    Reader::new("parametrizations", text::parametrization_samples, text::parametrization),
    Reader::new("manifests", text::manifest_samples, text::manifest),
    Reader::new("ledger_entries", text::ledger_entry_samples, text::ledger_entry),
    Reader::new("tables", text::table_samples, text::table),
    Reader::new("treebanks", text::treebank_samples, text::treebank),
    Reader::new("checkpoints", binary::checkpoint_samples, binary::checkpoint),
    Reader::new("known_answers", binary::known_answer_samples, binary::known_answer).safetensors(),
    Reader::new("texts", corpora::text_samples, corpora::text),
    Reader::new("tokenizers", corpora::tokenizer_samples, corpora::tokenizer),
    Reader::new("token_folders", corpora::token_folder_samples, corpora::token_folder),
    Reader::new("weights", binary::weight_samples, binary::weights).safetensors(),
];

impl Reader {
    const fn new(
        name: &'static str,
        samples: fn() -> &'static [Vec<u8>],
        read: fn(usize, &[u8]),
    ) -> Self {
        Self { name, samples, read, safetensors: false }
    }

    const fn safetensors(mut self) -> Self {
        self.safetensors = true;
        self
    }
}

/// The reader called `name`.
pub fn reader(name: &str) -> &'static Reader {
    READERS.iter().find(|reader| reader.name == name).expect("a reader of that name")
}

/// Gives `data` to the reader called `name`: the first byte chooses the sample whose place the
/// others take.
pub fn fuzz(name: &str, data: &[u8]) {
    let reader = reader(name);
    if let Some((first, bytes)) = data.split_first() {
        (reader.read)(usize::from(*first) % (reader.samples)().len(), bytes);
    }
}

/// Writes every sample of every reader as `folder/NAME/INDEX`, in the form [`fuzz`] takes.
///
/// # Errors
/// A folder or file that cannot be written.
pub fn write_corpus(folder: &std::path::Path) -> std::io::Result<()> {
    for reader in &READERS {
        let folder = folder.join(reader.name);
        std::fs::create_dir_all(&folder)?;
        for (index, sample) in (reader.samples)().iter().enumerate() {
            std::fs::write(folder.join(index.to_string()), [&[index as u8], &sample[..]].concat())?;
        }
    }
    Ok(())
}

/// Where the numbers of a safetensors file begin.
pub fn border(whole: &[u8]) -> usize {
    8 + u64::from_le_bytes(whole[..8].try_into().expect("eight bytes")) as usize
}
