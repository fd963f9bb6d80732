//! Sixteen-bit floats as bits: what kernels store and tests compare.

/// bf16 to f32, exact.
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// f32 to bf16, to nearest, ties to even.
pub fn f32_to_bf16(value: f32) -> u16 {
    if value.is_nan() {
        return 0x7fff;
    }
    let bits = value.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// f16 to f32, exact.
pub fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, fraction) = (u32::from(bits >> 10 & 0x1f), u32::from(bits & 0x3ff));
    match exponent {
        // Subnormal: the fraction in units of 2^-24.
        0 => f32::from_bits(sign | (fraction as f32 * 2f32.powi(-24)).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// f32 to f16, to nearest, ties to even; overflow to infinity.
pub fn f32_to_f16(value: f32) -> u16 {
    let sign = (value.to_bits() >> 16 & 0x8000) as u16;
    let size = f64::from(value.abs());
    if value.is_nan() {
        return 0x7fff;
    }
    // Halfway between the largest finite number, 65504, and the next power of two.
    if size >= 65_520.0 {
        return sign | 0x7c00;
    }
    // Spacing of f16 around the value: 2^-24 below the smallest normal number.
    let exponent = size.to_bits() >> 52;
    let spacing = (exponent as i32 - 1023 - 10).max(-24);
    let steps = (size * 2f64.powi(-spacing)).round_ties_even() as u32;
    if spacing == -24 {
        return sign | steps as u16;
    }
    // `steps` is 1024 to 2048; 2048 carries into the exponent, as it should.
    sign | (((spacing + 25) as u32) << 10).wrapping_add(steps - 1024) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_every_f16_survives_the_way_through_f32() {
        for bits in 0..=u16::MAX {
            let wide = f16_to_f32(bits);
            if wide.is_nan() {
                assert_eq!(f32_to_f16(wide), 0x7fff);
            } else {
                assert_eq!(f32_to_f16(wide), bits, "{wide}");
            }
        }
    }

    #[test]
    fn invariant_f16_rounds_to_nearest_with_ties_to_even() {
        for bits in 0..0x7bffu16 {
            let (low, high) = (f16_to_f32(bits), f16_to_f32(bits + 1));
            let middle = f32::midpoint(low, high);
            assert_eq!(f32_to_f16(middle), bits + (bits & 1), "{middle}");
            assert_eq!(f32_to_f16(middle.next_up()), bits + 1);
            assert_eq!(f32_to_f16(middle.next_down()), bits);
        }
    }

    #[test]
    fn invariant_every_bf16_survives_the_way_through_f32() {
        for bits in 0..=u16::MAX {
            let wide = bf16_to_f32(bits);
            assert_eq!(f32_to_bf16(wide), if wide.is_nan() { 0x7fff } else { bits });
        }
    }
}
