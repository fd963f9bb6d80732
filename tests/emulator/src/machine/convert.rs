//! Conversions and comparisons of one value.

use std::cmp::Ordering::{Equal, Greater, Less};

use crate::fault::{Fault, Kind, Result};
use crate::half::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use crate::ptx::instruction::{Rounding, Test};
use crate::ptx::types::Type;

/// A register as f32.
pub(super) fn single(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

/// A register as f64.
pub(super) fn double(bits: u64) -> f64 {
    f64::from_bits(bits)
}

enum Number {
    Float(f64),
    Whole(i128),
}

/// `bits` of type `of`, in type `into`.
pub(super) fn convert(into: Type, of: Type, bits: u64, rounding: Rounding) -> Result<u64> {
    let number = match of {
        Type::F32 => Number::Float(single(bits).into()),
        Type::F64 => Number::Float(double(bits)),
        Type::Bf16 => Number::Float(bf16_to_f32(bits as u16).into()),
        Type::F16 => Number::Float(f16_to_f32(bits as u16).into()),
        Type::Signed(_) => Number::Whole((of.cut(bits) as i64).into()),
        Type::Unsigned(_) => Number::Whole(of.cut(bits).into()),
        other => return Err(Fault::new(Kind::NotUnderstood, format!("conversion of {other:?}"))),
    };
    Ok(match (into, number) {
        (Type::F32, Number::Float(value)) => (value as f32).to_bits().into(),
        (Type::F32, Number::Whole(value)) => (value as f32).to_bits().into(),
        (Type::F64, Number::Float(value)) => value.to_bits(),
        (Type::F64, Number::Whole(value)) => (value as f64).to_bits(),
        (Type::Bf16, Number::Float(value)) => f32_to_bf16(value as f32).into(),
        (Type::F16, Number::Float(value)) => f32_to_f16(value as f32).into(),
        (Type::Signed(_) | Type::Unsigned(_), Number::Whole(value)) => into.cut(value as u64),
        (Type::Signed(_) | Type::Unsigned(_), Number::Float(value)) => whole(into, value, rounding),
        (other, _) => {
            return Err(Fault::new(Kind::NotUnderstood, format!("conversion into {other:?}")));
        }
    })
}

/// A float as a whole number: rounded, then clamped; NaN is 0.
fn whole(into: Type, value: f64, rounding: Rounding) -> u64 {
    let value = match rounding {
        Rounding::NearestEven => value.round_ties_even(),
        Rounding::Down => value.floor(),
        Rounding::Up => value.ceil(),
        Rounding::Zero => value.trunc(),
    };
    let bits = into.bits() as i32;
    // `as` clamps and maps NaN to 0, as the hardware does.
    if into.signed() {
        let half = 2f64.powi(bits - 1);
        into.cut(value.clamp(-half, half - 1.0) as i64 as u64)
    } else {
        into.cut(value.clamp(0.0, 2f64.powi(bits) - 1.0) as u64)
    }
}

/// Two f32 as halves, `low` in the low bits.
pub(super) fn pack_halves(kind: Type, high: u64, low: u64) -> u64 {
    let half = |bits| match kind {
        Type::Bf16x2 => f32_to_bf16(single(bits)),
        _ => f32_to_f16(single(bits)),
    };
    u64::from(half(high)) << 16 | u64::from(half(low))
}

/// Whether `a` and `b` stand in the relation `test`.
pub(super) fn compare(test: Test, kind: Type, a: u64, b: u64) -> Result<bool> {
    let order = match kind {
        Type::F32 => single(a).partial_cmp(&single(b)),
        Type::F64 => double(a).partial_cmp(&double(b)),
        Type::Signed(_) => Some((kind.cut(a) as i64).cmp(&(kind.cut(b) as i64))),
        Type::Unsigned(_) => Some(kind.cut(a).cmp(&kind.cut(b))),
        other => return Err(Fault::new(Kind::NotUnderstood, format!("comparison of {other:?}"))),
    };
    let unordered = order.is_none();
    Ok(match test {
        Test::Equal => order == Some(Equal),
        Test::NotEqual => matches!(order, Some(Less | Greater)),
        Test::Less => order == Some(Less),
        Test::LessEqual => matches!(order, Some(Less | Equal)),
        Test::Greater => order == Some(Greater),
        Test::GreaterEqual => matches!(order, Some(Greater | Equal)),
        Test::EqualUnordered => unordered || order == Some(Equal),
        Test::NotEqualUnordered => order != Some(Equal),
        Test::LessUnordered => unordered || order == Some(Less),
        Test::LessEqualUnordered => order != Some(Greater),
        Test::GreaterUnordered => unordered || order == Some(Greater),
        Test::GreaterEqualUnordered => order != Some(Less),
        Test::Numbers => !unordered,
        Test::NotANumber => unordered,
    })
}
