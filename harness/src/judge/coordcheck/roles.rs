//! The slope that is expected of a quantity of a tensor under maximal updates.

/// Exponent of width expected of `quantity` (`activation` where there is none) of a tensor with
/// this `role`; `None` for words that are not known. The table is that of
/// [`crate::checks::coordinates`]: activations are flat; weights of hidden matrices start with
/// -1/2, of decoders with -1; gradients fall as -1 except those of decoders; updates are flat for
/// vectors and tables, -1 for matrices.
pub fn expected(role: &str, quantity: &str) -> Option<f64> {
    let role = role.to_lowercase();
    let vector = ["input", "embedding", "bias", "gain", "norm"].contains(&role.as_str());
    let hidden = ["hidden", "matrix"].contains(&role.as_str());
    let output = ["output", "readout", "decoder", "head"].contains(&role.as_str());
    let flat = ["activation", "act", "logits", "attention_logits", ""].contains(&role.as_str());
    match quantity.to_lowercase().as_str() {
        _ if flat => Some(0.0),
        _ if !(vector || hidden || output) => None,
        "" | "activation" | "act" | "output" | "act_delta" => Some(0.0),
        "weight" | "param" | "parameter" => Some(if vector {
            0.0
        } else if hidden {
            -0.5
        } else {
            -1.0
        }),
        "gradient" | "grad" => Some(if output { 0.0 } else { -1.0 }),
        "update" | "param_delta" | "delta" => Some(if vector { 0.0 } else { -1.0 }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_expected_exponents() {
        let cases = [
            ("hidden", "", Some(0.0)),
            ("hidden", "weight", Some(-0.5)),
            ("hidden", "gradient", Some(-1.0)),
            ("hidden", "update", Some(-1.0)),
            ("Output", "weight", Some(-1.0)),
            ("output", "grad", Some(0.0)),
            ("bias", "update", Some(0.0)),
            ("activation", "", Some(0.0)),
            ("hidden", "colour", None),
            ("colour", "weight", None),
        ];
        for (role, quantity, exponent) in cases {
            assert_eq!(expected(role, quantity), exponent, "{role} {quantity}");
        }
    }
}
