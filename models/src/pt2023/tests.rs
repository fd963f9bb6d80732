//! Messages as gradients of the expected score.

use candle_core::{DType, Device, Tensor, Var};

use super::extra_heads::{GlobalNode, RootNode};
use super::ternary::{DistanceGroups, Ternary};
use super::{GlobalConfig, GlobalDesign, GlobalForm, Pt2023Config, TernaryForm};
use crate::architecture::Weights;
use crate::gradient_check::random_tensor;

const SEQUENCES: usize = 2;
const LENGTH: usize = 7;

fn config(ternary: TernaryForm) -> Pt2023Config {
    Pt2023Config {
        vocab: 5,
        width: 5,
        channels: 3,
        rank: 2,
        ternary,
        globals: Some(GlobalConfig {
            design: GlobalDesign::FirstChannels,
            features: 4,
            channels: 2,
            form: GlobalForm::NormalisedProduct,
            rank: 3,
        }),
        root_labels: Some(6),
        ..Pt2023Config::default()
    }
}

fn random(name: &str, shape: &[usize]) -> Var {
    Var::from_tensor(&random_tensor(name, shape).unwrap()).unwrap()
}

fn assert_same(found: &Tensor, expected: &Tensor) {
    let gap = (found - expected).unwrap().sqr().unwrap().sum_all().unwrap();
    let size = expected.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
    assert!(size > 1e-3, "nothing to compare");
    assert!(gap.to_scalar::<f64>().unwrap() < 1e-24 * size, "{found} is not {expected}");
}

/// Message G is `d/dq sum p F` with the posteriors p fixed: the head's and the dependent's message
/// together, for words, global features and the root (mean field, Wu & Tu 2023, equations 4, 6).
#[test]
fn invariant_messages_are_the_gradient_of_the_expected_score() {
    let forms =
        [TernaryForm::Uv, TernaryForm::Uvw, TernaryForm::Dense, TernaryForm::DistanceShared];
    for form in forms {
        let config = config(form);
        let layout = config.encoder_layout().unwrap();
        let specs = layout.specs().iter();
        let tensors: Vec<Tensor> =
            specs.map(|spec| random_tensor(spec.name(), spec.shape()).unwrap()).collect();
        let w = Weights::new(&layout, &tensors, None);
        let groups =
            DistanceGroups::new(&config.distance_cuts, LENGTH, DType::F64, &Device::Cpu).unwrap();
        let beliefs = random("q", &[SEQUENCES, LENGTH, config.width]);
        let root_beliefs = random("root", &[SEQUENCES, 6]);
        let p = random_tensor("p", &[SEQUENCES, 3, LENGTH, LENGTH]).unwrap();
        let p_root = random_tensor("p_root", &[SEQUENCES, 3, LENGTH, 1]).unwrap();
        let p_features = random_tensor("p_features", &[SEQUENCES, 2, LENGTH, 4]).unwrap();

        let ternary = Ternary::new(&config, &w).unwrap();
        let words = ternary.project(&beliefs).unwrap();
        let score = (ternary.head_message(&words, &groups).unwrap() * &p).unwrap();
        let gradients = score.sum_all().unwrap().backward().unwrap();
        let message = ternary.label_message(&words, &p, &groups, false).unwrap();
        assert_same(&message, gradients.get(&beliefs).unwrap());

        let node = GlobalNode::new(&config, &w).unwrap().unwrap();
        let score = (node.head_message(&beliefs).unwrap() * &p_features).unwrap();
        let gradients = score.sum_all().unwrap().backward().unwrap();
        assert_same(&node.label_message(&p_features).unwrap(), gradients.get(&beliefs).unwrap());

        let node = RootNode::new(&config, &w).unwrap().unwrap();
        let score = (node.head_message(&beliefs, &root_beliefs).unwrap() * &p_root).unwrap();
        let gradients = score.sum_all().unwrap().backward().unwrap();
        let message = node.label_message(&root_beliefs, &p_root).unwrap();
        assert_same(&message, gradients.get(&beliefs).unwrap());
        let message = node.root_message(&beliefs, &p_root).unwrap();
        assert_same(&message, gradients.get(&root_beliefs).unwrap());
    }
}

/// The head's message is the gradient with respect to the dependent's beliefs only, the
/// dependent's message that with respect to the head's.
#[test]
fn invariant_each_message_is_the_gradient_of_its_own_side() {
    let config = config(TernaryForm::Uv);
    let layout = config.encoder_layout().unwrap();
    let specs = layout.specs().iter();
    let tensors: Vec<Tensor> =
        specs.map(|spec| random_tensor(spec.name(), spec.shape()).unwrap()).collect();
    let w = Weights::new(&layout, &tensors, None);
    let groups =
        DistanceGroups::new(&config.distance_cuts, LENGTH, DType::F64, &Device::Cpu).unwrap();
    let ternary = Ternary::new(&config, &w).unwrap();
    let p = random_tensor("p", &[SEQUENCES, 3, LENGTH, LENGTH]).unwrap();
    let beliefs = random("q", &[SEQUENCES, LENGTH, config.width]);
    let fixed = beliefs.as_tensor().detach();
    let (words, fixed) = (ternary.project(&beliefs).unwrap(), ternary.project(&fixed).unwrap());
    let from_heads = ternary.label_message(&words, &p, &groups, true).unwrap();
    let both = ternary.label_message(&words, &p, &groups, false).unwrap();
    let from_dependents = (both - &from_heads).unwrap();
    let gradient = |dependent: &Tensor, head: &Tensor| {
        let sides =
            super::ternary::Projections { dependent: dependent.clone(), head: head.clone() };
        let score = (ternary.head_message(&sides, &groups).unwrap() * &p).unwrap();
        let gradients = score.sum_all().unwrap().backward().unwrap();
        gradients.get(&beliefs).unwrap().clone()
    };
    assert_same(&from_heads, &gradient(&words.dependent, &fixed.head));
    assert_same(&from_dependents, &gradient(&fixed.dependent, &words.head));
}

#[test]
fn invariant_frobenius_norm_is_that_of_the_full_table() {
    let forms =
        [TernaryForm::Uv, TernaryForm::Uvw, TernaryForm::Dense, TernaryForm::DistanceShared];
    for form in forms {
        let config = config(form);
        let layout = config.encoder_layout().unwrap();
        let specs = layout.specs().iter();
        let tensors: Vec<Tensor> =
            specs.map(|spec| random_tensor(spec.name(), spec.shape()).unwrap()).collect();
        let ternary = Ternary::new(&config, &Weights::new(&layout, &tensors, None)).unwrap();
        // One-hot beliefs of two neighbours read T entry by entry from message F.
        let width = config.width;
        let identity = Tensor::eye(width, DType::F64, &Device::Cpu).unwrap();
        let rank = config.effective_rank();
        let sides = ternary.project(&identity.unsqueeze(0).unwrap()).unwrap();
        let full = sides.dependent.matmul(&sides.head.t().unwrap()).unwrap();
        assert_eq!(sides.dependent.dims(), [config.distance_groups() * 3, width, rank]);
        let expected = full.sqr().unwrap().sum_all().unwrap().sqrt().unwrap();
        let norm = ternary.frobenius_norm().unwrap();
        assert_same(&norm, &expected);
    }
}
