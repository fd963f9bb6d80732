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
}
