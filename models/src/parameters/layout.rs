//! The ordered list of a model's parameters and their places in one flat buffer.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{ParameterSpec, Role};
use crate::error::{ModelError, Result};

/// All parameters of a model, in a fixed order, laid out one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    specs: Vec<ParameterSpec>,
    offsets: Vec<usize>,
    index: BTreeMap<String, usize>,
}

impl Layout {
    /// Lays out `specs` in the given order.
    ///
    /// # Panics
    /// If two parameters share a name: that is a bug in the model's definition.
    pub fn new(specs: Vec<ParameterSpec>) -> Self {
        let mut offsets = Vec::with_capacity(specs.len() + 1);
        let mut index = BTreeMap::new();
        let mut end = 0;
        for (position, spec) in specs.iter().enumerate() {
            offsets.push(end);
            end += spec.count();
            let earlier = index.insert(spec.name().to_owned(), position);
            assert!(earlier.is_none(), "two parameters are named {}", spec.name());
        }
        offsets.push(end);
        Self { specs, offsets, index }
    }

    /// Parameters in order.
    pub fn specs(&self) -> &[ParameterSpec] {
        &self.specs
    }

    /// Position of the parameter called `name`.
    pub fn position(&self, name: &str) -> Result<usize> {
        self.index.get(name).copied().ok_or_else(|| ModelError::UnknownParameter {
            name: name.to_owned(),
            count: self.specs.len(),
        })
    }

    /// Position of the parameter that plays the part of `name` in a model of another depth: the
    /// same name, or else the same name in the first layer (numbers in the name replaced by 0).
    pub fn counterpart(&self, name: &str) -> Result<usize> {
        self.position(name).or_else(|error| {
            let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
            let first: Vec<&str> =
                name.split('.').map(|part| if is_number(part) { "0" } else { part }).collect();
            self.position(&first.join(".")).map_err(|_| error)
        })
    }

    /// Place of parameter `position` in the flat buffer.
    pub fn range(&self, position: usize) -> Range<usize> {
        self.offsets[position]..self.offsets[position + 1]
    }

    /// Place of the parameter called `name` in the flat buffer.
    pub fn range_of(&self, name: &str) -> Result<Range<usize>> {
        Ok(self.range(self.position(name)?))
    }

    /// Total number of parameters.
    pub fn total(&self) -> usize {
        *self.offsets.last().unwrap_or(&0)
    }

    /// Total without token, position and segment tables, decoder matrix and decoder bias.
    pub fn non_embedding(&self) -> usize {
        self.specs.iter().filter(|spec| !spec.is_embedding()).map(ParameterSpec::count).sum()
    }

    /// Number of parameters of each role; roles without parameters are left out.
    pub fn by_role(&self) -> BTreeMap<Role, usize> {
        let mut counts = BTreeMap::new();
        for spec in &self.specs {
            *counts.entry(spec.role()).or_insert(0) += spec.count();
        }
        counts
    }
}
