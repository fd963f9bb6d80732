//! Which column of somebody's table is which of ours.

use crate::error::{HarnessError, Result};

/// A column that a verb can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Our name.
    pub name: &'static str,
    /// Other names, spelled as [`folded`] spells them, the most telling first.
    pub others: &'static [&'static str],
}

/// The parametrization or other label of a run.
pub const LABEL: Wanted = Wanted {
    name: "parametrization",
    others: &[
        "parameterization",
        "parametrisation",
        "parameterisation",
        "param",
        "scheme",
        "label",
        "method",
        "family",
        "model",
        "arm",
        "group",
        "name",
    ],
};
/// Model width.
pub const WIDTH: Wanted = Wanted {
    name: "width",
    others: &[
        "d_model",
        "dmodel",
        "model_width",
        "model.width",
        "n_embd",
        "n_embed",
        "hidden_size",
        "hidden_dim",
        "hidden",
        "embed_dim",
        "dim",
    ],
};
/// Number of layers.
pub const DEPTH: Wanted = Wanted {
    name: "depth",
    others: &["n_layer", "n_layers", "num_layers", "layers", "num_hidden_layers"],
};
/// Sequences or tokens of a step.
pub const BATCH: Wanted =
    Wanted { name: "batch", others: &["batch_size", "bs", "global_batch_size"] };
/// Training tokens of a run, or so far.
pub const TOKENS: Wanted =
    Wanted { name: "tokens", others: &["train_tokens", "training_tokens", "n_tokens"] };
/// Optimiser step of a row.
pub const STEP: Wanted = Wanted {
    name: "step",
    others: &["_step", "t", "iter", "iteration", "global_step", "steps", "epoch"],
};
/// Learning rate.
pub const RATE: Wanted = Wanted {
    name: "learning_rate",
    others: &["lr", "base_lr", "peak_lr", "max_lr", "learning_rate_max", "eta", "rate"],
};
/// log2 of the learning rate.
pub const LOG2_RATE: Wanted =
    Wanted { name: "log2_learning_rate", others: &["log2lr", "log2_lr", "log2(lr)", "lr_log2"] };
/// log10 of the learning rate.
pub const LOG10_RATE: Wanted =
    Wanted { name: "log10_learning_rate", others: &["log10lr", "log10_lr", "log10(lr)"] };
/// Loss of a run.
pub const LOSS: Wanted = Wanted {
    name: "loss",
    others: &[
        "loss_nats",
        "eval/loss",
        "eval_loss",
        "val/loss",
        "val_loss",
        "valid_loss",
        "validation_loss",
        "test/loss",
        "test_loss",
        "held_out_loss",
        "final_loss",
        "train/loss",
        "train_loss",
        "training_loss",
    ],
};
/// Seed of a run.
pub const SEED: Wanted =
    Wanted { name: "seed", others: &["random_seed", "rng_seed", "run_seed", "seeds"] };
/// Parameters, FLOPs or another size.
pub const SIZE: Wanted = Wanted {
    name: "size",
    others: &[
        "parameters",
        "params",
        "n_params",
        "num_params",
        "parameters_total",
        "parameters_non_embedding",
        "n",
        "flops",
        "training_flops",
        "compute",
        "tokens",
        "width",
    ],
};

/// A name as it is compared: lower case, spaces and dashes as underscores.
pub fn folded(name: &str) -> String {
    let inside = name.trim().trim_matches(['"', '\'']).trim().to_lowercase();
    inside.replace([' ', '-'], "_")
}

/// `--column OURS=THEIRS`, as given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping(Vec<(String, String)>);

impl Mapping {
    /// Reads `OURS=THEIRS` pairs.
    ///
    /// # Errors
    /// A pair without `=`, or with an empty side.
    pub fn parse(given: &[String]) -> Result<Self> {
        let pair = |text: &String| match text.split_once('=') {
            Some((ours, theirs)) if !ours.trim().is_empty() && !theirs.trim().is_empty() => {
                Ok((folded(ours), theirs.trim().to_owned()))
            }
            _ => Err(HarnessError::config(
                format!("--column {text} names no two columns"),
                "write OURS=THEIRS, for instance --column loss=eval/loss",
            )),
        };
        given.iter().map(pair).collect::<Result<Vec<_>>>().map(Self)
    }

    /// Their name of our column `wanted`, if one was given.
    pub fn theirs(&self, wanted: &Wanted) -> Option<&str> {
        let known = |ours: &str| ours == wanted.name || wanted.others.contains(&ours);
        self.0.iter().find(|(ours, _)| known(ours)).map(|(_, theirs)| theirs.as_str())
    }

    /// An error if some given name of ours is none of `wanted`.
    pub fn require_known(&self, wanted: &[Wanted]) -> Result<()> {
        for (ours, _) in &self.0 {
            let known = |w: &Wanted| w.name == ours || w.others.contains(&ours.as_str());
            if !wanted.iter().any(known) {
                let names: Vec<&str> = wanted.iter().map(|wanted| wanted.name).collect();
                return Err(HarnessError::config(
                    format!("--column {ours}=…: this verb reads no column '{ours}'"),
                    format!("it reads {}", names.join(", ")),
                ));
            }
        }
        Ok(())
    }
}

/// `--where COLUMN=VALUE`: only rows with this text in this column of theirs count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection(pub Vec<(String, String)>);

impl Selection {
    /// Reads `COLUMN=VALUE` pairs.
    ///
    /// # Errors
    /// A pair without `=`.
    pub fn parse(given: &[String]) -> Result<Self> {
        let pair = |text: &String| match text.split_once('=') {
            Some((column, value)) if !column.trim().is_empty() => {
                Ok((column.trim().to_owned(), value.trim().to_owned()))
            }
            _ => Err(HarnessError::config(
                format!("--where {text} names no column and value"),
                "write COLUMN=VALUE, for instance --where depth=4",
            )),
        };
        given.iter().map(pair).collect::<Result<Vec<_>>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_mappings_are_read_and_unknown_names_refused() {
        let given = ["loss=eval/loss".to_owned(), "Learning Rate = max lr".to_owned()];
        let mapping = Mapping::parse(&given).unwrap();
        assert_eq!(mapping.theirs(&LOSS), Some("eval/loss"));
        assert_eq!(mapping.theirs(&RATE), Some("max lr"));
        assert_eq!(mapping.theirs(&SEED), None);
        let message = mapping.require_known(&[LOSS]).unwrap_err().to_string();
        assert!(message.contains("learning_rate") && message.contains("hint:"), "{message}");
        for wrong in ["loss", "=x", "loss="] {
            assert!(Mapping::parse(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
