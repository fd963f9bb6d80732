//! Chooses the instruction set of a kernel at run time.

use std::sync::OnceLock;

use crate::error::{ModelError, Result};

/// Instruction sets that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Whatever the target guarantees.
    Portable,
    /// AVX2 with fused multiply-add.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
}

/// The variable that holds the kernels to fewer instructions than the processor has: one of the
/// names in [`Level::NAMES`].
pub const VARIABLE: &str = "CROSSSCALE_SIMD";

impl Level {
    /// All levels, lowest first.
    pub const NAMES: [(Self, &'static str); 3] =
        [(Self::Portable, "portable"), (Self::Avx2, "avx2"), (Self::Avx512, "avx512")];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }
}

/// The level that all kernels of this process run at.
///
/// # Panics
/// If [`asked_for`] fails, which a program asks before it computes.
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| asked_for().unwrap_or_else(|error| panic!("{error}")))
}

/// The level that `CROSSSCALE_SIMD` names, or the best of this machine if it is unset or empty.
///
/// Products, sums and elementary functions are the same operations in the same order with AVX2
/// and with AVX-512, so they give the same bits; without fused multiply-add the last bits differ.
///
/// # Errors
/// A name that no level has, or a level that this processor lacks.
pub fn asked_for() -> Result<Level> {
    let asked = std::env::var_os(VARIABLE).unwrap_or_default();
    choose(&asked.to_string_lossy(), detect())
}

fn choose(asked: &str, best: Level) -> Result<Level> {
    if asked.is_empty() {
        return Ok(best);
    }
    let refuse = |by: &str, hint: String| {
        let what = format!("{VARIABLE}={asked}");
        Err(ModelError::Unsupported { what, by: by.to_owned(), hint })
    };
    match Level::NAMES.iter().find(|(_, name)| *name == asked) {
        None => refuse("the CPU kernels", "give portable, avx2 or avx512, or unset it".to_owned()),
        Some((level, _)) if *level > best => {
            refuse("this processor", format!("its best is {}; unset it to have that", best.name()))
        }
        Some((level, _)) => Ok(*level),
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let wide = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (fma, wide) {
        (true, true) => Level::Avx512,
        (true, false) => Level::Avx2,
        _ => Level::Portable,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Portable
}

/// Defines `fn name(arguments)` that runs `body::<FMA>(arguments)` compiled for the machine's
/// level. `body` must be `#[inline(always)]`; its constant says whether fused multiply-add is an
/// instruction there (see [`math::fma`](crate::fused::math::fma)).
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)?
     = $body:ident) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "the level was detected before the version is called")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn wide($($arg: $ty),*) $(-> $ret)? {
                    $body::<true>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn narrow($($arg: $ty),*) $(-> $ret)? {
                    $body::<true>($($arg),*)
                }
                match $crate::fused::dispatch::level() {
                    // SAFETY: level() found these features on this machine.
                    $crate::fused::dispatch::Level::Avx512 => return unsafe { wide($($arg),*) },
                    // SAFETY: as above.
                    $crate::fused::dispatch::Level::Avx2 => return unsafe { narrow($($arg),*) },
                    $crate::fused::dispatch::Level::Portable => {}
                }
            }
            #[allow(unreachable_code, reason = "reached on machines without AVX2 only")]
            $body::<false>($($arg),*)
        }
    };
}
pub(crate) use multiversion;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_a_level_is_chosen_by_name_and_never_above_the_machine() {
        for (place, (level, name)) in Level::NAMES.into_iter().enumerate() {
            assert_eq!((level as usize, level.name()), (place, name));
            for (best, _) in Level::NAMES {
                assert_eq!(choose("", best).unwrap(), best);
                match choose(name, best) {
                    Ok(chosen) => assert!(chosen == level && level <= best),
                    Err(error) => {
                        let said = error.to_string();
                        assert!(level > best && said.contains(name), "{said}");
                        assert!(said.contains(best.name()) && said.contains("hint: "), "{said}");
                    }
                }
            }
        }
        let said = choose("sse9", Level::Avx512).unwrap_err().to_string();
        assert!(said.contains("CROSSSCALE_SIMD=sse9") && said.contains("avx2"), "{said}");
    }
}
