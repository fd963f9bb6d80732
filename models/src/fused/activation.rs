//! GELU (exact), SiLU and ReLU with their derivatives.

use super::dispatch::multiversion;
use super::math::{fma, normal, sigmoid};

#[inline(always)]
fn gelu_body<const FMA: bool>(x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = x * normal::<FMA>(x).0;
    }
}
multiversion! {
    /// `y = x Phi(x)` (Hendrycks and Gimpel, arXiv 1606.08415), Phi the normal distribution
    /// function; absolute error below 4e-7 max(1, |x|).
    pub fn gelu(x: &[f32], y: &mut [f32]) = gelu_body
}

#[inline(always)]
fn gelu_backward_body<const FMA: bool>(x: &[f32], gradient: &mut [f32]) {
    for (gradient, &x) in gradient.iter_mut().zip(x) {
        let (distribution, density) = normal::<FMA>(x);
        *gradient *= fma::<FMA>(x, density, distribution);
    }
}
multiversion! {
    /// Turns the gradient of [`gelu`]'s result into that of its argument `x`, in place.
    pub fn gelu_backward(x: &[f32], gradient: &mut [f32]) = gelu_backward_body
}

#[inline(always)]
fn silu_body<const FMA: bool>(x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = x * sigmoid::<FMA>(x);
    }
}
multiversion! {
    /// `y = x sigmoid(x)`; relative error below 1e-6.
    pub fn silu(x: &[f32], y: &mut [f32]) = silu_body
}

#[inline(always)]
fn silu_backward_body<const FMA: bool>(x: &[f32], gradient: &mut [f32]) {
    for (gradient, &x) in gradient.iter_mut().zip(x) {
        let s = sigmoid::<FMA>(x);
        *gradient *= s * fma::<FMA>(x, 1.0 - s, 1.0);
    }
}
multiversion! {
    /// Turns the gradient of [`silu`]'s result into that of its argument `x`, in place.
    pub fn silu_backward(x: &[f32], gradient: &mut [f32]) = silu_backward_body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points() -> Vec<f32> {
        (-1203..1203).map(|i| i as f32 * 7.3e-3).collect()
    }

    /// Normal distribution function by Simpson's rule from 0.
    fn distribution(x: f64) -> f64 {
        let steps = 400;
        let h = x / f64::from(steps);
        let density = |t: f64| (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let weight = |i: i32| match i {
            i if i == 0 || i == steps => 1.0,
            i if i % 2 == 1 => 4.0,
            _ => 2.0,
        };
        let sum: f64 = (0..=steps).map(|i| weight(i) * density(f64::from(i) * h)).sum();
        0.5 + sum * h / 3.0
    }

    fn compare(got: &[f32], x: &[f32], exact: impl Fn(f64) -> f64) {
        for (&got, &x) in got.iter().zip(x) {
            let want = exact(f64::from(x));
            let bound = 4e-7 * f64::from(x.abs().max(1.0));
            assert!((f64::from(got) - want).abs() < bound, "at {x}: {got} for {want}");
        }
    }

    #[test]
    fn invariant_gelu_and_its_derivative_are_those_of_the_definition() {
        let x = points();
        let mut y = vec![0f32; x.len()];
        gelu(&x, &mut y);
        compare(&y, &x, |x| x * distribution(x));
        gelu_body::<false>(&x, &mut y);
        compare(&y, &x, |x| x * distribution(x));
        y.fill(1.0);
        gelu_backward(&x, &mut y);
        let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
        compare(&y, &x, |x| distribution(x) + x * density(x));
    }

    #[test]
    fn invariant_silu_and_its_derivative_are_those_of_the_definition() {
        let x = points();
        let mut y = vec![0f32; x.len()];
        let s = |x: f64| 1.0 / (1.0 + (-x).exp());
        silu(&x, &mut y);
        compare(&y, &x, |x| x * s(x));
        silu_body::<false>(&x, &mut y);
        compare(&y, &x, |x| x * s(x));
        y.fill(1.0);
        silu_backward(&x, &mut y);
        compare(&y, &x, |x| s(x) * (1.0 + x * (1.0 - s(x))));
    }
}
