//! What names mean inside a kernel: registers, parameters, shared arrays, labels.

use std::collections::HashMap;

use super::instruction::{Address, Source, Special, Target};
use super::statements::split;
use crate::fault::{Fault, Kind, Result};

/// Names of one kernel.
#[derive(Debug, Default)]
pub struct Scope {
    /// Registers declared alone.
    pub registers: HashMap<String, u32>,
    /// Registers declared as `prefix<count>`: prefix, first, count.
    pub ranges: Vec<(String, u32, u32)>,
    /// Registers in all.
    pub count: u32,
    /// Offsets of parameters.
    pub parameters: HashMap<String, u32>,
    /// Addresses of shared arrays.
    pub symbols: HashMap<String, u64>,
    /// Instructions behind labels.
    pub labels: HashMap<String, u32>,
}

fn unknown(what: &str, text: &str) -> Fault {
    Fault::new(Kind::NotUnderstood, format!("unknown {what} {text}"))
}

impl Scope {
    /// Declares what a `.reg` statement names.
    pub fn declare(&mut self, names: &str) -> Result<()> {
        for name in split(names) {
            if let Some((prefix, count)) = name.split_once('<') {
                let count: u32 = count
                    .trim_end_matches('>')
                    .parse()
                    .map_err(|_| unknown("count of registers", name))?;
                self.ranges.push((prefix.to_owned(), self.count, count));
                self.count += count;
            } else {
                self.registers.insert(name.to_owned(), self.count);
                self.count += 1;
            }
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Option<u32> {
        if let Some(&index) = self.registers.get(name) {
            return Some(index);
        }
        let digits = name.find(|c: char| c.is_ascii_digit())?;
        let number: u32 = name[digits..].parse().ok()?;
        let (_, first, count) = self.ranges.iter().find(|range| range.0 == name[..digits])?;
        (number < *count).then_some(first + number)
    }

    /// A register that must exist.
    pub fn register(&self, name: &str) -> Result<u32> {
        self.find(name.trim()).ok_or_else(|| unknown("register", name))
    }

    /// Where a result goes.
    pub fn target(&self, text: &str) -> Result<Target> {
        if text == "_" { Ok(None) } else { self.register(text).map(Some) }
    }

    /// Where a result goes, or several in braces.
    pub fn targets(&self, text: &str) -> Result<Vec<Target>> {
        parts(text).into_iter().map(|part| self.target(part)).collect()
    }

    /// A value, or several in braces.
    pub fn sources(&self, text: &str) -> Result<Vec<Source>> {
        parts(text).into_iter().map(|part| self.source(part)).collect()
    }

    /// A pair `first|second`; the second may be missing.
    pub fn pair(&self, text: &str) -> Result<(Target, Target)> {
        match text.split_once('|') {
            Some((first, second)) => Ok((self.target(first.trim())?, self.target(second.trim())?)),
            None => Ok((self.target(text)?, None)),
        }
    }

    /// The instruction that a label names.
    pub fn label(&self, text: &str) -> Result<u32> {
        self.labels.get(text).copied().ok_or_else(|| unknown("label", text))
    }

    /// A value: register, negated predicate, special register, number or address of an array.
    pub fn source(&self, text: &str) -> Result<Source> {
        if let Some(name) = text.strip_prefix('!') {
            return self.register(name).map(Source::Negated);
        }
        if let Some(register) = self.find(text) {
            return Ok(Source::Register(register));
        }
        if let Some(name) = text.strip_prefix('%') {
            return special(name).map(Source::Special).ok_or_else(|| unknown("register", text));
        }
        if let Some(&symbol) = self.symbols.get(text) {
            return Ok(Source::Value(symbol));
        }
        number(text).map(Source::Value).ok_or_else(|| unknown("operand", text))
    }

    /// `[base]`, `[base+offset]`: base a register or a shared array.
    pub fn address(&self, text: &str) -> Result<Address> {
        let (base, offset) = place(text)?;
        if let Some(register) = self.find(base) {
            return Ok(Address { base: Some(register), offset });
        }
        if let Some(&symbol) = self.symbols.get(base) {
            return Ok(Address { base: None, offset: symbol as i64 + offset });
        }
        Err(unknown("address", text))
    }

    /// Offset of the parameter that `[name+offset]` names, if it names one.
    pub fn parameter(&self, text: &str) -> Result<Option<u32>> {
        let (base, offset) = place(text)?;
        Ok(self.parameters.get(base).map(|&parameter| parameter + offset as u32))
    }
}

/// Base and offset of `[base+offset]`.
fn place(text: &str) -> Result<(&str, i64)> {
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .ok_or_else(|| unknown("address", text))?
        .trim();
    match inner.split_once('+') {
        None => Ok((inner, 0)),
        Some((base, offset)) => {
            let offset = offset.trim().parse().map_err(|_| unknown("offset", text))?;
            Ok((base.trim(), offset))
        }
    }
}

/// What stands in braces, or the text itself.
fn parts(text: &str) -> Vec<&str> {
    match text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(inner) => split(inner),
        None => vec![text],
    }
}

fn special(name: &str) -> Option<Special> {
    let (name, axis) = name.split_once('.').unwrap_or((name, "x"));
    let axis = match axis {
        "x" => 0,
        "y" => 1,
        "z" => 2,
        _ => return None,
    };
    Some(match name {
        "tid" => Special::Thread(axis),
        "ntid" => Special::Threads(axis),
        "ctaid" => Special::Block(axis),
        "nctaid" => Special::Blocks(axis),
        "laneid" => Special::Lane,
        "warpid" => Special::Warp,
        _ => return None,
    })
}

/// Whole numbers, and floats written as their bits (`0f3F800000`, `0d…`).
fn number(text: &str) -> Option<u64> {
    for prefix in ["0f", "0F", "0d", "0D", "0x", "0X"] {
        if let Some(digits) = text.strip_prefix(prefix) {
            return u64::from_str_radix(digits.trim_end_matches('U'), 16).ok();
        }
    }
    let digits = text.trim_end_matches('U');
    digits.parse::<i64>().map(|number| number as u64).or_else(|_| digits.parse()).ok()
}
