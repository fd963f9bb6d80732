//! Perplexity: `exp` of a mean loss in nats.

/// `exp(loss)`; `None` beyond the largest double, from a loss of 709.78 nats on, where it would be
/// infinite though the loss is a number.
pub fn perplexity(loss_nats: f64) -> Option<f64> {
    Some(loss_nats.exp()).filter(|perplexity| perplexity.is_finite())
}

/// The same for people, with two decimals.
pub fn perplexity_words(loss_nats: f64) -> String {
    perplexity(loss_nats).map_or_else(|| "above 1e308".to_owned(), |value| format!("{value:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_perplexities_up_to_the_largest_double() {
        assert_eq!(perplexity(0.0), Some(1.0));
        assert_eq!(perplexity_words(2.0), "7.39");
        assert!(perplexity(709.7).is_some_and(f64::is_finite));
        assert_eq!((perplexity(709.8), perplexity_words(1e4).as_str()), (None, "above 1e308"));
    }
}
