//! The list of shapes, and roles from it.

use std::collections::BTreeSet;
use std::path::Path;

use models::parameters::Role;
use models::parametrization::Parametrization;

use super::{Axes, Kind, Tensor};
use crate::error::Result;
use crate::judge::Notes;
use crate::judge::cells;
use crate::judge::names::{Mapping, Selection, Wanted};
use crate::judge::table::{Reader, unreadable};

const NAME: Wanted = Wanted { name: "name", others: &["parameter", "param", "tensor"] };
const SHAPE: Wanted = Wanted { name: "shape", others: &["size"] };
const BASE: Wanted = Wanted { name: "base_shape", others: &["base", "base_size"] };
const ROLE: Wanted = Wanted { name: "role", others: &[] };
const DEVIATION: Wanted = Wanted { name: "init_std", others: &["std", "base_std"] };
const FANS: [Wanted; 4] = [
    Wanted { name: "fan_in", others: &[] },
    Wanted { name: "fan_out", others: &[] },
    Wanted { name: "base_fan_in", others: &[] },
    Wanted { name: "base_fan_out", others: &[] },
];

/// Reads `name, shape, base_shape` and optionally `role, init_std, fan_in, fan_out, base_fan_in,
/// base_fan_out` from the CSV at `path`. `table` decides whether an added and a multiplied vector
/// must be told apart.
///
/// # Errors
/// A file that is no such list, with its line.
pub fn read(path: &Path, axes: Axes, table: &Parametrization) -> Result<Vec<Tensor>> {
    let mut reader = Reader::open(path, &Selection::default())?;
    let mapping = Mapping::default();
    let [name, shape, base] = [
        reader.require(&NAME, &mapping),
        reader.require(&SHAPE, &mapping),
        reader.require(&BASE, &mapping),
    ];
    let (name, shape, base) = (name?, shape?, base?);
    let role = reader.find(&ROLE, &mapping)?;
    let deviation = reader.find(&DEVIATION, &mapping)?;
    let mut fans = [None; 4];
    for (place, wanted) in fans.iter_mut().zip(&FANS) {
        *place = reader.find(wanted, &mapping)?;
    }
    let (mut tensors, mut names, mut notes) = (Vec::new(), BTreeSet::new(), Notes::default());
    while reader.advance(&mut notes)? {
        let line = reader.line();
        let wrong = |problem: String| {
            unreadable(
                path,
                format!("line {line}: {problem}"),
                "write shapes as 512x128 or (512, 128)",
            )
        };
        let text = |place: Option<usize>| place.map_or("", |place| reader.text(place));
        let tensor = reader.text(name).to_owned();
        if !names.insert(tensor.clone()) {
            return Err(wrong(format!("'{tensor}' is listed twice")));
        }
        let sizes = |place: usize| {
            parsed(reader.text(place))
                .ok_or_else(|| wrong(format!("'{}' is no shape", reader.text(place))))
        };
        let (shape, base_shape) = (sizes(shape)?, sizes(base)?);
        if shape.len() != base_shape.len() {
            let problem = format!(
                "{tensor} has {} axes here and {} in the base",
                shape.len(),
                base_shape.len()
            );
            return Err(wrong(problem));
        }
        let given = Some(text(role)).filter(|word| !word.is_empty());
        let given = given
            .map(|word| role_named(word).ok_or_else(|| wrong(format!("'{word}' is no role"))))
            .transpose()?;
        let own_fans = fans.map(|place| cells::count(text(place)).map(|fan| fan as usize));
        let base_deviation = Some(text(deviation)).filter(|text| !text.is_empty());
        let base_deviation = base_deviation
            .map(|text| cells::number(text).ok_or_else(|| wrong(format!("'{text}' is no number"))))
            .transpose()?;
        let (kind, why) = kind(&shape, &base_shape, axes, given, own_fans, table);
        tensors.push(Tensor { name: tensor, shape, base_shape, base_deviation, kind, why });
    }
    if notes.rows() > 0 {
        let said = notes.sentences().join("; ");
        return Err(unreadable(path, said, "put shapes with commas into quotes, or write 512x128"));
    }
    Ok(tensors)
}

/// The sizes in a text such as `512x128`, `(512, 128)` or `torch.Size([512, 128])`.
fn parsed(text: &str) -> Option<Vec<usize>> {
    let text = text.trim().trim_start_matches("torch.Size");
    let sizes = text
        .split(|letter: char| !letter.is_ascii_digit() && letter != '-' && letter != '.')
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().ok().filter(|size| *size > 0))
        .collect::<Option<Vec<usize>>>()?;
    let alphabetic = text.chars().any(|letter| letter.is_alphabetic() && letter != 'x');
    (!alphabetic).then_some(sizes)
}

/// What the list says of a tensor.
#[derive(Debug, Clone, Copy)]
enum Given {
    Role(Role),
    Fixed,
}

/// A role as people call it.
fn role_named(word: &str) -> Option<Given> {
    Some(match word.to_lowercase().as_str() {
        "input" | "embedding" | "lookup" => Given::Role(Role::Input),
        "hidden" | "matrix" => Given::Role(Role::Hidden),
        "output" | "readout" | "decoder" | "head" => Given::Role(Role::Output),
        "bias" => Given::Role(Role::Bias),
        "gain" | "norm" | "scale" => Given::Role(Role::Gain),
        "fixed" => Given::Fixed,
        _ => return None,
    })
}

/// What shapes, and a given role, say of a tensor.
fn kind(
    shape: &[usize],
    base: &[usize],
    axes: Axes,
    given: Option<Given>,
    fans: [Option<usize>; 4],
    table: &Parametrization,
) -> (Kind, String) {
    let (now, then) = (default_fans(shape, axes), default_fans(base, axes));
    let own = |place: usize, default: usize| fans[place].unwrap_or(default);
    let scaled = |role: Role| {
        let vector = matches!(role, Role::Bias | Role::Gain);
        let all = |shape: &[usize]| (1, shape.iter().product::<usize>());
        // A table `(entries, width)` that is looked up has its outputs on the last axis, whatever
        // the framework's order; an input matrix has not.
        let lookup = role == Role::Input && shape.len() == 2 && shape[0] == base[0];
        let last = |shape: &[usize]| (shape[0], shape[1]);
        let ((a, b), (c, d)) = match () {
            () if vector => (all(shape), all(base)),
            () if lookup => (last(shape), last(base)),
            () => (now, then),
        };
        Kind::Scaled { role, fans: (own(0, a), own(1, b)), base_fans: (own(2, c), own(3, d)) }
    };
    match given {
        Some(Given::Role(role)) => return (scaled(role), "as the list says".to_owned()),
        Some(Given::Fixed) => return (Kind::Fixed, "as the list says".to_owned()),
        None => {}
    }
    let grows: Vec<bool> = shape.iter().zip(base).map(|(now, base)| now != base).collect();
    let growing = grows.iter().filter(|grows| **grows).count();
    if growing == 0 {
        return (Kind::Fixed, "no axis differs from the base".to_owned());
    }
    // `(1, 1, width)` is a vector; `(1, width)` may read out to one number.
    let vector = shape.len() == 1
        || (shape.len() > 2 && growing == 1 && shape.iter().filter(|size| **size > 1).count() == 1);
    if vector {
        if table.bias == table.gain {
            let why = "a vector; the table has one rule for added and multiplied ones";
            return (scaled(Role::Bias), why.to_owned());
        }
        let why = "a vector: added (bias) or multiplied (gain)?";
        return (Kind::Asked(vec![Role::Bias, Role::Gain]), why.to_owned());
    }
    let (input, output) = match axes {
        Axes::OutIn => (1, 0),
        Axes::InOut => (shape.len() - 2, shape.len() - 1),
    };
    if grows.iter().enumerate().any(|(axis, grows)| *grows && axis != input && axis != output) {
        let why = "an axis grows that is neither inputs nor outputs: give role, fan_in, fan_out, \
                   base_fan_in and base_fan_out";
        return (Kind::Asked(vec![Role::Input, Role::Hidden, Role::Output]), why.to_owned());
    }
    match (grows[input], grows[output], axes) {
        (true, true, _) => (scaled(Role::Hidden), "inputs and outputs grow".to_owned()),
        (false, _, _) => (scaled(Role::Input), "only outputs grow".to_owned()),
        (true, false, Axes::InOut) => (scaled(Role::Output), "only inputs grow".to_owned()),
        (true, false, Axes::OutIn) => {
            let why = "only its last axis grows: a table that is looked up (input) or a decoder \
                       that reads out (output)?";
            (Kind::Asked(vec![Role::Input, Role::Output]), why.to_owned())
        }
    }
}

/// Inputs and outputs of a tensor by the order of its axes.
fn default_fans(shape: &[usize], axes: Axes) -> (usize, usize) {
    match (shape, axes) {
        ([], _) => (1, 1),
        ([size], _) => (1, *size),
        ([out, inputs @ ..], Axes::OutIn) | ([inputs @ .., out], Axes::InOut) => {
            (inputs.iter().product(), *out)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str, axes: Axes) -> Vec<Tensor> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shapes.csv");
        std::fs::write(&path, text).unwrap();
        read(&path, axes, &Parametrization::built_in("mup-table8").unwrap()).unwrap()
    }

    #[test]
    fn golden_shapes_in_every_spelling() {
        for text in ["512x128", "(512, 128)", "[512,128]", "torch.Size([512, 128])", "512 128"] {
            assert_eq!(parsed(text), Some(vec![512, 128]), "{text}");
        }
        assert_eq!(parsed("()"), Some(vec![]));
        for text in ["512xa", "0x4", "-3x4", "1.5x2", "width"] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn golden_roles_that_shapes_tell_and_those_that_they_do_not() {
        let text = "name,shape,base_shape\na,512x784,128x784\nb,512x512,128x128\n\
                    c,10x512,10x128\nd,512,128\ne,10,10\nf,512x256x3x3,128x64x3x3\n";
        let found = kinds(text, Axes::OutIn);
        let role = |tensor: &Tensor| match &tensor.kind {
            Kind::Scaled { role, .. } => role.name().to_owned(),
            Kind::Fixed => "fixed".to_owned(),
            Kind::Asked(roles) => format!("{}?", roles.len()),
        };
        let words: Vec<String> = found.iter().map(role).collect();
        assert_eq!(words, ["input", "hidden", "2?", "bias", "fixed", "hidden"]);
        // Flax: a kernel (inputs, outputs) leaves no doubt.
        let flax = "name,shape,base_shape\na,784x512,784x128\nb,512x10,128x10\nc,100x512,100x128\n";
        let words: Vec<String> = kinds(flax, Axes::InOut).iter().map(role).collect();
        assert_eq!(words, ["input", "output", "input"]);
        let given = "name,shape,base_shape,role\nc,10x512,10x128,readout\nd,10x512,10x128,lookup\n";
        let found = kinds(given, Axes::OutIn);
        assert_eq!([role(&found[0]), role(&found[1])], ["output", "input"]);
    }
}
