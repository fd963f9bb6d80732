//! Rules of a list of shapes as Python that runs.

use std::fmt::Write;

use models::parametrization::Parametrization;

use super::emit::role_word;
use super::{Row, sites};

/// What follows the rules in a module for PyTorch. It imports nothing: parameters and modules
/// bring what it calls.
const TORCH: &str = r#"

def parameter_groups(model, learning_rate, weight_decay=0.0, epsilon=1e-8):
    """Parameter groups for torch.optim.Adam or AdamW; the three are those of the base model."""
    groups = {}
    for name, parameter in _named(model).items():
        groups.setdefault(RULES[name][2:], []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": learning_rate * rate,
            "weight_decay": weight_decay * decay,
            "eps": epsilon * eps,
        }
        for (rate, decay, eps), parameters in groups.items()
    ]


def initialise(model, base_deviations):
    """Draws the named tensors from N(0, (deviation in the base model times factor)^2)."""
    named = _named(model)
    for name, deviation in base_deviations.items():
        named[name].data.normal_(0.0, deviation * RULES[name][0])


def multiply_forward(model):
    """Applies the forward multipliers; returns the hooks, whose remove() takes them off."""
    hooks = []
    for name, rule in RULES.items():
        factor = rule[1]
        if factor == 1.0:
            continue
        module = model.get_submodule(name.rpartition(".")[0])
        if hasattr(module, "num_embeddings"):
            hook = lambda module, inputs, output, factor=factor: output * factor
            hooks.append(module.register_forward_hook(hook))
        else:
            hook = lambda module, inputs, factor=factor: (inputs[0] * factor, *inputs[1:])
            hooks.append(module.register_forward_pre_hook(hook))
    return hooks


def _named(model):
    named = dict(model.named_parameters())
    missing, unknown = sorted(set(named) - set(RULES)), sorted(set(RULES) - set(named))
    if missing or unknown:
        raise KeyError(f"without a rule: {missing}; not in the model: {unknown}")
    return named
"#;

/// What follows the rules in a module for Optax.
const OPTAX: &str = r#"

def labels(params):
    """The label of every leaf of a tree of parameters, for optax.multi_transform."""

    def walk(tree, path):
        if hasattr(tree, "items"):
            return {key: walk(value, path + (str(key),)) for key, value in tree.items()}
        for name in ("/".join(path), ".".join(path), "/".join(path[1:]), ".".join(path[1:])):
            if name in LABELS:
                return LABELS[name]
        raise KeyError(f"without a rule: {'/'.join(path)}")

    return walk(params, ())


def optimiser(learning_rate, weight_decay=0.0, epsilon=1e-8, b1=0.9, b2=0.999):
    """AdamW with the rules; the first three are those of the base model."""
    import optax

    def rate(factor):
        if callable(learning_rate):
            return lambda step: learning_rate(step) * factor
        return learning_rate * factor

    transforms = {
        label: optax.adamw(
            rate(factor), b1=b1, b2=b2, eps=epsilon * eps, weight_decay=weight_decay * decay
        )
        for label, (factor, decay, eps) in TRANSFORMS.items()
    }
    return optax.multi_transform(transforms, labels)
"#;

/// Whether two sets of factors are one group: to the last bit.
fn same(a: &[f64; 3], b: &[f64; 3]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.total_cmp(b).is_eq())
}

/// A Python string literal.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            letter if letter.is_control() => {
                let _ = write!(out, "\\u{:04x}", letter as u32);
            }
            letter => out.push(letter),
        }
    }
    out + "\""
}

/// A Python float literal that reads back to the same number.
fn number(value: f64) -> String {
    format!("{value:?}")
}

fn head(table: &Parametrization, command: &str) -> String {
    let one_line = |text: &str| text.replace(['\n', '\r'], " ");
    let mut text = format!(
        "# {}\n# Parametrization {}: {}.\n# Source: {}.\n",
        one_line(command),
        one_line(&table.name),
        one_line(&table.description),
        one_line(&table.source)
    );
    for site in sites(table) {
        let _ = writeln!(text, "# Belongs to no tensor, apply it yourself: {site}.");
    }
    text
}

/// `RULES` and functions that make parameter groups for PyTorch from them.
pub fn torch(rows: &[Row], table: &Parametrization, command: &str) -> String {
    let mut text = head(table, command);
    text += "\n# name: (initial deviation, forward multiplier, learning rate, weight decay, \
             epsilon),\n# each as a factor on the value of the base model\nRULES = {\n";
    for row in rows {
        let Some(rule) = row.rule else { continue };
        let factors = [
            rule.init_std_factor,
            rule.forward_multiplier,
            rule.lr_multiplier,
            rule.weight_decay_multiplier,
            rule.eps_multiplier,
        ];
        let factors = factors.map(number).join(", ");
        let name = quoted(&row.tensor.name);
        let _ = writeln!(text, "    {name}: ({factors}),  # {}", role_word(row));
    }
    text + "}\n" + TORCH
}

/// `LABELS`, `TRANSFORMS` and functions that make an optimiser of Optax from them.
pub fn optax(rows: &[Row], table: &Parametrization, command: &str) -> String {
    let mut text = head(table, command);
    let mut transforms: Vec<[f64; 3]> = Vec::new();
    let (mut labels, mut factors) = (String::new(), String::new());
    for row in rows {
        let Some(rule) = row.rule else { continue };
        let own = [rule.lr_multiplier, rule.weight_decay_multiplier, rule.eps_multiplier];
        let place = transforms.iter().position(|known| same(known, &own)).unwrap_or_else(|| {
            transforms.push(own);
            transforms.len() - 1
        });
        let name = quoted(&row.tensor.name);
        let _ = writeln!(labels, "    {name}: \"group{place}\",  # {}", role_word(row));
        let pair = [rule.init_std_factor, rule.forward_multiplier].map(number).join(", ");
        let _ = writeln!(factors, "    {name}: ({pair}),");
    }
    let _ = write!(text, "\nLABELS = {{\n{labels}}}\n");
    text += "\n# label: factors on learning rate, weight decay and epsilon of the base model\n\
             TRANSFORMS = {\n";
    for (place, own) in transforms.iter().enumerate() {
        let _ = writeln!(text, "    \"group{place}\": ({}),", own.map(number).join(", "));
    }
    text += "}\n";
    let _ = write!(
        text,
        "\n# name: (initial deviation, forward multiplier), factors on those of the base model\n\
         FACTORS = {{\n{factors}}}\n"
    );
    text + OPTAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_python_literals() {
        assert_eq!(quoted("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000a\"");
        assert_eq!([0.25, 1.0, 1e-7, 1e21].map(number), ["0.25", "1.0", "1e-7", "1e21"]);
    }
}
