//! The known word nearest to a misspelled one.

/// Changed letters from which on two words have nothing to do with each other.
const DISTANCE_MAX: usize = 3;

/// "did you mean X? " for the known word nearest to `word`, or nothing if none is near.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    // More than half of a short word changed is another word: nope is no paper.
    let far = DISTANCE_MAX.min(word.chars().count() / 2);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(name, word), name))
        .filter(|(distance, _)| *distance <= far)
        .min()
        .map_or_else(String::new, |(_, name)| format!("did you mean {name}? "))
}

/// [`did_you_mean`] from serde's message about an unknown field or variant, which names the
/// word and all known ones in backquotes.
pub fn from_message(message: &str) -> String {
    let Some((_, names)) = message.split_once("unknown ") else { return String::new() };
    let mut quoted = names.split('`').skip(1).step_by(2);
    let Some(word) = quoted.next() else { return String::new() };
    did_you_mean(word, quoted)
}

/// A message of the TOML reader in words of a TOML file: it speaks of Rust's types, and of the
/// tables of `[model]`, of which one is chosen, as elements.
pub fn plain(message: &str) -> String {
    const STRUCT: &str = "expected struct ";
    let families = super::overrides::FAMILIES.join(", ");
    let one = message
        .replace(
            "wanted exactly 1 element, more than 1 element",
            &format!("several tables where one is chosen, of {families}"),
        )
        .replace(
            "wanted exactly 1 element, found 0 elements",
            &format!("choose one of {families}"),
        );
    let mut parts = one.split(STRUCT);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str("expected a table");
        text.push_str(part.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_the_nearest_word_is_named_and_a_far_one_is_not() {
        assert_eq!(did_you_mean("brt", ["pt", "bert", "ut"]), "did you mean bert? ");
        assert_eq!(did_you_mean("steps", ["step", "steps"]), "did you mean steps? ");
        assert_eq!(did_you_mean("x", ["pt", "ut"]), "");
        assert_eq!(did_you_mean("nope", ["paper", "ntk"]), "");
        assert_eq!(did_you_mean("learning_rate", ["momentum"]), "");
        let message = "unknown field `stepz`, expected one of `batch`, `steps`";
        assert_eq!(from_message(message), "did you mean steps? ");
        assert_eq!(from_message("invalid type: string"), "");
    }

    #[test]
    fn invariant_messages_speak_of_tables_and_not_of_rust() {
        let message = "line 3\ninvalid type: integer `1`, expected struct TrainConfig\nin `train`";
        let expected = "line 3\ninvalid type: integer `1`, expected a table\nin `train`";
        assert_eq!(plain(message), expected);
        assert_eq!(plain("unknown field `a`"), "unknown field `a`");
        let two: Result<crate::config::model::ModelConfig, _> = toml::from_str("[pt]\n[bert]\n");
        let two = plain(two.expect_err("two families").message());
        assert_eq!(two, "several tables where one is chosen, of pt, pt2023, bert, preln, ut");
        let none: Result<crate::config::model::ModelConfig, _> = toml::from_str("");
        let none = plain(none.expect_err("no family").message());
        assert_eq!(none, "choose one of pt, pt2023, bert, preln, ut");
    }
}
