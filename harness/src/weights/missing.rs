//! Why a file has not the tensors of a model, as far as its names tell.

use super::{NAMED_AT_MOST, TensorFile, names};
use crate::config::model::ModelConfig;
use crate::error::{HarnessError, Result};

/// Put before every name by programs that wrap a model: torch.compile, data parallelism.
const WRAPPERS: [(&str, &str); 3] = [
    ("_orig_mod.", "the file is of a compiled model: save model._orig_mod (torch.compile)"),
    ("module.", "the file is of a wrapped model: save model.module (DataParallel, DDP)"),
    ("model.", "the file is of a model inside another: save that model alone"),
];

/// That no tensor is `absent`, of `count` that `model` has.
///
/// # Errors
/// [`HarnessError::Input`] with what is there instead and what it looks like.
pub(super) fn check(
    file: &TensorFile,
    model: &ModelConfig,
    absent: &[&str],
    count: usize,
) -> Result<()> {
    let Some(first) = absent.first() else { return Ok(()) };
    let there: Vec<&str> = file.names().collect();
    let shown = match there.len() {
        0 => "none".to_owned(),
        all if all <= NAMED_AT_MOST => there.join(", "),
        all => format!("{}, … ({all} in all)", there[..NAMED_AT_MOST].join(", ")),
    };
    let problem = format!(
        "has no tensor '{first}'; {} of the {count} tensors of {} are missing, the file holds \
         {shown}",
        absent.len(),
        model.family()
    );
    Err(HarnessError::input(file.path(), problem, remedy(file, model, absent, &there)))
}

fn remedy(file: &TensorFile, model: &ModelConfig, absent: &[&str], there: &[&str]) -> String {
    let has = |name: &str| there.contains(&name);
    let all_have = |found: &dyn Fn(&str) -> bool| absent.iter().all(|name| found(name));
    for (prefix, remedy) in WRAPPERS {
        if all_have(&|name| has(&format!("{prefix}{name}"))) {
            return format!("its names begin with '{prefix}': {remedy}");
        }
    }
    if is_shard(file) {
        return "the file is one of several: load them all and save the model as one file, in \
                transformers BertForMaskedLM.from_pretrained(DIR).save_pretrained(NEW, \
                max_shard_size='1000GB')"
            .to_owned();
    }
    if matches!(model, ModelConfig::Bert(_)) {
        let head = |name: &&&str| name.starts_with("cls.");
        let inner = |name: &str| name.strip_prefix("bert.").is_some_and(has);
        if absent.iter().filter(|name| !head(name)).all(|name| inner(name))
            && absent.iter().any(|name| inner(name))
        {
            return "its names lack 'bert.': it is a BertModel without its language-model head; \
                    save BertForMaskedLM"
                .to_owned();
        }
        if absent.iter().all(|name| head(&name)) {
            let tied = absent == [names::BERT_DECODER];
            return if tied {
                "the decoder is the token table: --set model.tied=true".to_owned()
            } else {
                "it has no language-model head: save BertForMaskedLM".to_owned()
            };
        }
    }
    "is it of this family and depth, with its language-model head?".to_owned()
}

/// Whether the file's name is one of a numbered set, `model-00001-of-00002.safetensors`.
fn is_shard(file: &TensorFile) -> bool {
    let stem = file.path().file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let parts: Vec<String> = stem.unwrap_or_default().split('-').map(ToOwned::to_owned).collect();
    let number = |text: &String| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    match parts.as_slice() {
        [.., index, of, count] => number(index) && of == "of" && number(count) && count != "00001",
        _ => false,
    }
}
