//! Arithmetic of all lanes.

use super::convert::{double, single};
use super::warp::{LANES, Lanes};
use crate::fault::{Fault, Kind, Result};
use crate::ptx::instruction::Arithmetic;
use crate::ptx::types::Type;

/// `what` on `inputs` of type `kind`; `flush` makes subnormal f32 zero.
pub(super) fn arithmetic(
    what: Arithmetic,
    kind: Type,
    inputs: &[Lanes; 4],
    flush: bool,
) -> Result<Lanes> {
    let mut out = [0; LANES];
    for (lane, out) in out.iter_mut().enumerate() {
        let values = inputs.map(|input| input[lane]);
        let value = match kind {
            Type::F32 => {
                let flushed = |value: f32| {
                    if flush && value.is_subnormal() { 0f32.copysign(value) } else { value }
                };
                let [a, b, c, _] = values.map(|bits| flushed(single(bits)));
                of_singles(what, a, b, c).map(|value| flushed(value).to_bits().into())
            }
            Type::F64 => {
                let [a, b, c, _] = values.map(double);
                of_doubles(what, a, b, c).map(f64::to_bits)
            }
            Type::Predicate => of_predicates(what, values),
            Type::Signed(_) | Type::Unsigned(_) => of_numbers(what, kind, values),
            _ => None,
        };
        *out = value.ok_or_else(|| {
            Fault::new(Kind::NotUnderstood, format!("{what:?} of {kind:?} is not known"))
        })?;
    }
    Ok(out)
}

/// What f32 and f64 have in common, each rounded in its own type.
macro_rules! of_floats {
    ($what:expr, $a:expr, $b:expr, $c:expr) => {
        Some(match $what {
            Arithmetic::Add => $a + $b,
            Arithmetic::Subtract => $a - $b,
            Arithmetic::Multiply => $a * $b,
            Arithmetic::MultiplyAdd => $a.mul_add($b, $c),
            Arithmetic::Divide => $a / $b,
            // A number wins over NaN, as in the hardware.
            Arithmetic::Minimum => $a.min($b),
            Arithmetic::Maximum => $a.max($b),
            Arithmetic::Negate => -$a,
            Arithmetic::Absolute => $a.abs(),
            Arithmetic::CopySign => $b.copysign($a),
            Arithmetic::Reciprocal => 1.0 / $a,
            Arithmetic::Root => $a.sqrt(),
            _ => return None,
        })
    };
}

fn of_singles(what: Arithmetic, a: f32, b: f32, c: f32) -> Option<f32> {
    // Approximations of the hardware are within an ulp or two of these.
    let wide = f64::from(a);
    let approximate = match what {
        Arithmetic::ReciprocalRoot => 1.0 / wide.sqrt(),
        Arithmetic::Exponential2 => wide.exp2(),
        Arithmetic::Logarithm2 => wide.log2(),
        Arithmetic::Tanh => wide.tanh(),
        _ => return of_floats!(what, a, b, c),
    };
    Some(approximate as f32)
}

fn of_doubles(what: Arithmetic, a: f64, b: f64, c: f64) -> Option<f64> {
    of_floats!(what, a, b, c)
}

fn of_predicates(what: Arithmetic, [a, b, ..]: [u64; 4]) -> Option<u64> {
    Some(match what {
        Arithmetic::And => a & b & 1,
        Arithmetic::Or => (a | b) & 1,
        Arithmetic::Xor => (a ^ b) & 1,
        Arithmetic::Not => a & 1 ^ 1,
        _ => return None,
    })
}

fn of_numbers(what: Arithmetic, kind: Type, [a, b, c, d]: [u64; 4]) -> Option<u64> {
    let value = match what {
        Arithmetic::Add => a.wrapping_add(b),
        Arithmetic::Subtract => a.wrapping_sub(b),
        Arithmetic::Multiply => a.wrapping_mul(b),
        Arithmetic::MultiplyAdd => a.wrapping_mul(b).wrapping_add(c),
        // Twice as wide as the inputs.
        Arithmetic::MultiplyWide => return Some(kind.cut(a).wrapping_mul(kind.cut(b))),
        Arithmetic::MultiplyAddWide => {
            return Some(kind.cut(a).wrapping_mul(kind.cut(b)).wrapping_add(c));
        }
        Arithmetic::MultiplyHigh => high(kind, a, b),
        Arithmetic::Divide | Arithmetic::Remainder => divided(what, kind, a, b),
        Arithmetic::Minimum | Arithmetic::Maximum => chosen(what, kind, a, b),
        Arithmetic::Negate => a.wrapping_neg(),
        Arithmetic::Absolute => (kind.cut(a) as i64).unsigned_abs(),
        Arithmetic::And => a & b,
        Arithmetic::Or => a | b,
        Arithmetic::Xor => a ^ b,
        Arithmetic::Not => !a,
        Arithmetic::CountOnes => unsigned(kind, a).count_ones().into(),
        Arithmetic::LeadingZeros => {
            u64::from(unsigned(kind, a).leading_zeros()) - u64::from(64 - kind.bits())
        }
        _ => return of_bits(what, kind, [a, b, c, d]),
    };
    Some(kind.cut(value))
}

/// The low bits without their sign.
fn unsigned(kind: Type, value: u64) -> u64 {
    Type::Unsigned(kind.bytes() as u8).cut(value)
}

fn high(kind: Type, a: u64, b: u64) -> u64 {
    let product = if kind.signed() {
        i128::from(kind.cut(a) as i64) * i128::from(kind.cut(b) as i64)
    } else {
        // At most (2^64 - 1)^2: the bits above are what is asked for, whatever the sign says.
        (u128::from(kind.cut(a)) * u128::from(kind.cut(b))) as i128
    };
    (product >> kind.bits()) as u64
}

/// Quotient or remainder; by 0 all bits are set, as the hardware leaves them unspecified.
fn divided(what: Arithmetic, kind: Type, a: u64, b: u64) -> u64 {
    let (a, b) = (kind.cut(a), kind.cut(b));
    if b == 0 {
        return u64::MAX;
    }
    match (what, kind.signed()) {
        (Arithmetic::Divide, true) => (a as i64).wrapping_div(b as i64) as u64,
        (Arithmetic::Divide, false) => a / b,
        (_, true) => (a as i64).wrapping_rem(b as i64) as u64,
        (_, false) => a % b,
    }
}

fn chosen(what: Arithmetic, kind: Type, a: u64, b: u64) -> u64 {
    let (a, b) = (kind.cut(a), kind.cut(b));
    let less = if kind.signed() { (a as i64) < b as i64 } else { a < b };
    if less == (what == Arithmetic::Minimum) { a } else { b }
}

/// Shifts, bit fields, byte permutations (PTX ISA, the instructions of the same names).
fn of_bits(what: Arithmetic, kind: Type, [a, b, c, d]: [u64; 4]) -> Option<u64> {
    let bits = u64::from(kind.bits());
    let shift = b & 0xffff_ffff;
    let value = match what {
        Arithmetic::ShiftLeft => {
            if shift >= bits {
                0
            } else {
                a << shift
            }
        }
        Arithmetic::ShiftRight if kind.signed() => {
            (kind.cut(a) as i64 >> shift.min(bits - 1)) as u64
        }
        Arithmetic::ShiftRight => {
            if shift >= bits {
                0
            } else {
                kind.cut(a) >> shift
            }
        }
        Arithmetic::Logic3 => (0..bits).fold(0, |out, at| {
            let index = (a >> at & 1) << 2 | (b >> at & 1) << 1 | c >> at & 1;
            out | (d >> index & 1) << at
        }),
        Arithmetic::InsertBits => {
            let (place, count) = (c & 0xff, (d & 0xff).min(bits));
            if place >= bits || count == 0 {
                b
            } else {
                let ones = (u64::MAX >> (64 - count)) << place;
                b & !ones | a << place & ones
            }
        }
        Arithmetic::ExtractBits => extracted(kind, a, b & 0xff, c & 0xff),
        Arithmetic::PermuteBytes => (0..4).fold(0, |out, at| {
            let (choice, bytes) = (c >> (4 * at) & 0xf, b << 32 | a & 0xffff_ffff);
            let byte = bytes >> (8 * (choice & 7)) & 0xff;
            let byte = if choice & 8 == 0 { byte } else { 0xff * (byte >> 7) };
            out | byte << (8 * at)
        }),
        Arithmetic::FunnelLeft => {
            let pair = b << 32 | a & 0xffff_ffff;
            pair << (c & 31) >> 32
        }
        Arithmetic::FunnelRight => {
            let pair = b << 32 | a & 0xffff_ffff;
            pair >> (c & 31)
        }
        _ => return None,
    };
    Some(kind.cut(value))
}

fn extracted(kind: Type, a: u64, place: u64, count: u64) -> u64 {
    let bits = u64::from(kind.bits());
    if count == 0 {
        return 0;
    }
    let last = (place + count - 1).min(bits - 1);
    let sign = kind.signed() && unsigned(kind, a) >> last & 1 == 1;
    (0..bits).fold(0, |out, at| {
        let bit = if at < count && place + at < bits {
            unsigned(kind, a) >> (place + at) & 1
        } else {
            u64::from(sign)
        };
        out | bit << at
    })
}
