//! The known answers of the Probabilistic Transformer of 2023.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use harness::checks::known_answers::{self, Precision};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../golden/known_answers/pt2023")
}

/// Every tensor of the file agrees in both precisions.
fn agrees(name: &str) {
    let report = known_answers::check(&folder().join(format!("{name}.safetensors"))).unwrap();
    assert_eq!(report.family, "pt2023");
    for precision in Precision::ALL {
        // out, grad.unary and the gradient of a ternary factor at least.
        let compared = report.tensors.iter().filter(|tensor| tensor.precision == precision);
        assert!(compared.count() >= 3, "{name}: too few tensors in {}", precision.name());
    }
    let differing: Vec<_> = report.tensors.iter().filter(|tensor| !tensor.agrees).collect();
    assert!(differing.is_empty(), "{name}: {differing:#?}");
}

macro_rules! known_answers {
    ($($test:ident: $file:literal,)*) => {
        $(
            #[test]
            fn $test() {
                agrees($file);
            }
        )*

        #[test]
        fn parity_pt2023_every_file_has_a_test() {
            let tested = [$($file),*];
            for entry in std::fs::read_dir(folder()).unwrap() {
                let path = entry.unwrap().path();
                let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
                assert!(tested.contains(&stem.as_str()), "{stem} is not tested");
            }
        }
    };
}

known_answers! {
    parity_pt2023_damping: "damping",
    parity_pt2023_dense: "dense",
    parity_pt2023_distance_shared: "distance_shared",
    parity_pt2023_global_all_attention: "global_all_attn",
    parity_pt2023_global_split_attention: "global_attn_split",
    parity_pt2023_global_single_channel: "global_single_channel",
    parity_pt2023_global_single_normalised: "global_single_norm",
    parity_pt2023_message_weight: "message_weight",
    parity_pt2023_no_distance: "no_distance",
    parity_pt2023_no_padding: "no_padding",
    parity_pt2023_output_probability: "output_prob",
    parity_pt2023_relu_normaliser: "relu_norm",
    parity_pt2023_root: "root",
    parity_pt2023_single_iteration: "single_iteration",
    parity_pt2023_step_size: "step_size",
    parity_pt2023_synchronous: "synchronous",
    parity_pt2023_uv: "uv",
    parity_pt2023_uv_one_way: "uv_one_way",
    parity_pt2023_uvw: "uvw",
}

/// One f64 of value zero.
static ZERO: [u8; 8] = [0; 8];

/// `edit`s the metadata and the tensors of the file called `name` into a copy.
fn edited(
    name: &str,
    to: &Path,
    edit: impl Fn(&mut BTreeMap<String, String>, &mut BTreeMap<String, TensorView<'_>>),
) -> PathBuf {
    let bytes = std::fs::read(folder().join(format!("{name}.safetensors"))).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut metadata = header.metadata().clone().unwrap().into_iter().collect();
    let content = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = content.tensors().into_iter().collect();
    edit(&mut metadata, &mut tensors);
    let path = to.join("edited.safetensors");
    let metadata = Some(metadata.into_iter().collect());
    safetensors::serialize_to_file(tensors, metadata, &path).unwrap();
    path
}

#[test]
fn parity_pt2023_missing_keys_and_tensors_are_named() {
    let scratch = tempfile::tempdir().unwrap();
    let message = |path: &Path| known_answers::check(path).unwrap_err().to_string();
    for key in ["d_model", "n_head", "n_iter", "dists", "use_td"] {
        let path = edited("uv", scratch.path(), |metadata, _| {
            metadata.remove(key).unwrap();
        });
        assert!(message(&path).contains(&format!("'{key}' is missing")), "{}", message(&path));
    }
    for key in ["mode", "n_global"] {
        let path = edited("global_all_attn", scratch.path(), |metadata, _| {
            metadata.remove(key).unwrap();
        });
        assert!(message(&path).contains(&format!("'{key}' is missing")), "{}", message(&path));
    }
    for tensor in ["param.V", "mask", "cotangent"] {
        let path = edited("uv", scratch.path(), |_, tensors| {
            tensors.remove(tensor).unwrap();
        });
        assert!(message(&path).contains(&format!("'{tensor}' is missing")), "{}", message(&path));
    }
    let path = edited("uv", scratch.path(), |_, tensors| {
        let view = TensorView::new(Dtype::F64, vec![1], &ZERO).unwrap();
        tensors.insert("param.W".to_owned(), view);
    });
    assert!(message(&path).contains("no parameter 'W'"), "{}", message(&path));
}

#[test]
fn parity_pt2023_a_false_configuration_disagrees() {
    let scratch = tempfile::tempdir().unwrap();
    let changes = [
        ("n_iter", "3"),
        ("dists", "2, 3, 5"),
        ("damping_Z", "0.01"),
        ("damping_H", "0.01"),
        ("stepsize_Z", "0.99"),
        ("stepsize_H", "0.99"),
        ("regularize_Z", "1.01"),
        ("regularize_H", "1.01"),
        ("norm", "relu"),
        ("async_update", "False"),
        ("block_msg", "True"),
        ("output_prob", "True"),
    ];
    for (key, value) in changes {
        let path = edited("uv", scratch.path(), |metadata, _| {
            metadata.insert(key.to_owned(), value.to_owned());
        });
        assert!(!known_answers::check(&path).unwrap().agrees(), "{key} = {value} changes nothing");
    }
}

#[test]
fn parity_pt2023_names_of_file_and_case_do_not_matter() {
    let scratch = tempfile::tempdir().unwrap();
    let path = edited("global_attn_split", scratch.path(), |metadata, _| {
        metadata.insert("case".to_owned(), "global_single_norm".to_owned());
        for (key, value) in [("damping_H", "0"), ("norm", "softmax"), ("use_td_global", "no")] {
            metadata.insert(key.to_owned(), value.to_owned());
        }
    });
    assert!(known_answers::check(&path).unwrap().agrees());
}
