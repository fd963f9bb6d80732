//! PTX text to kernels.

mod decode;
pub mod instruction;
mod scope;
mod statements;
pub mod types;

use std::collections::BTreeMap;

use instruction::Instruction;
use scope::Scope;
use statements::{Statement, split, statements};
use types::Type;

use crate::fault::{Fault, Kind, Result};

/// Where shared memory begins in the shared window. Not 0, so that a null pointer is no shared
/// place.
pub const SHARED_BASE: u64 = 0x400;

/// Where a parameter lies in the buffer of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Bytes from the start.
    pub offset: usize,
    /// Bytes of it.
    pub bytes: usize,
}

/// One entry of a module.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Its name.
    pub name: String,
    /// Its parameters in order.
    pub parameters: Vec<Parameter>,
    /// Registers of a thread, all types together.
    pub(crate) registers: usize,
    /// Bytes of shared arrays of fixed size.
    pub static_shared_bytes: usize,
    /// Where the array begins whose size the launch gives.
    dynamic_shared_offset: usize,
    /// Most threads of a block, where the kernel says so.
    pub threads_max: Option<usize>,
    pub(crate) code: Vec<Instruction>,
}

impl Kernel {
    /// Bytes of shared memory of a block with so many dynamic ones.
    pub(crate) fn shared_bytes(&self, dynamic: usize) -> usize {
        if dynamic == 0 { self.static_shared_bytes } else { self.dynamic_shared_offset + dynamic }
    }

    /// Bytes of all parameters.
    pub fn parameter_bytes(&self) -> usize {
        self.parameters.last().map_or(0, |last| last.offset + last.bytes)
    }
}

/// The kernels of one PTX text.
#[derive(Debug, Clone, Default)]
pub struct Module {
    /// By name.
    pub kernels: BTreeMap<String, Kernel>,
    /// Version of the PTX, as written.
    pub version: String,
    /// Architecture, as written.
    pub target: String,
    pub(crate) lines: Vec<String>,
}

impl Module {
    /// Reads PTX text.
    pub fn parse(text: &str) -> Result<Self> {
        let mut module =
            Self { lines: text.lines().map(str::to_owned).collect(), ..Self::default() };
        let statements = statements(text);
        let mut dynamic = Vec::new();
        let mut at = 0;
        while at < statements.len() {
            let text = statements[at].text.as_str();
            if let Some(version) = text.strip_prefix(".version") {
                version.trim().clone_into(&mut module.version);
            } else if let Some(target) = text.strip_prefix(".target") {
                target.trim().clone_into(&mut module.target);
            } else if text.contains(".extern .shared") {
                let name = text.split_whitespace().last().unwrap_or("");
                dynamic.push(name.split('[').next().unwrap_or("").to_owned());
            } else if let Some((_, head)) = text.split_once(".entry") {
                let end = end_of_body(&statements, at + 1)?;
                let kernel = kernel(head, &statements[at + 2..end], &dynamic)?;
                module.kernels.insert(kernel.name.clone(), kernel);
                at = end;
            } else if !(text.is_empty() || text.starts_with(".address_size")) {
                return Err(not_understood(text));
            }
            at += 1;
        }
        Ok(module)
    }
}

fn not_understood(what: impl Into<String>) -> Fault {
    Fault::new(Kind::NotUnderstood, what)
}

/// The statement that closes the body which opens at `begin`.
fn end_of_body(statements: &[Statement], begin: usize) -> Result<usize> {
    let mut depth = 0i32;
    for (at, statement) in statements.iter().enumerate().skip(begin) {
        match statement.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => (),
        }
        if depth == 0 {
            return Ok(at);
        }
    }
    Err(not_understood("a kernel without end"))
}

/// Size and alignment that a declaration such as `.param .align 8 .b8 name[24]` states, and its
/// name.
fn declaration(text: &str) -> Result<(String, usize, usize)> {
    let problem = || not_understood(format!("declaration {text}"));
    let words: Vec<&str> = text.split_whitespace().collect();
    let kind = words.iter().find_map(|word| Type::parse(word.trim_start_matches('.')));
    let mut bytes = kind.ok_or_else(problem)?.bytes();
    let mut align = bytes;
    if let Some(at) = words.iter().position(|word| *word == ".align") {
        align = words.get(at + 1).and_then(|word| word.parse().ok()).ok_or_else(problem)?;
    }
    let last = words.last().ok_or_else(problem)?;
    let mut name = *last;
    if let Some((base, count)) = last.split_once('[') {
        bytes *= count.trim_end_matches(']').parse::<usize>().map_err(|_| problem())?;
        name = base;
    }
    Ok((name.to_owned(), bytes, align))
}

fn is_instruction(text: &str) -> bool {
    !(text.is_empty() || text.starts_with('.') || text.ends_with(':') || text == "{" || text == "}")
}

fn kernel(head: &str, body: &[Statement], dynamic: &[String]) -> Result<Kernel> {
    let (name, rest) = head.split_once('(').unwrap_or((head, ""));
    let (listed, directives) = rest.split_once(')').unwrap_or(("", head));
    let mut scope = Scope::default();
    let mut parameters: Vec<Parameter> = Vec::new();
    let mut end = 0usize;
    for parameter in split(listed) {
        let (name, bytes, align) = declaration(parameter)?;
        let offset = end.next_multiple_of(align);
        scope.parameters.insert(name, offset as u32);
        parameters.push(Parameter { offset, bytes });
        end = offset + bytes;
    }
    let mut shared = SHARED_BASE as usize;
    let mut index = 0;
    for statement in body {
        let text = statement.text.as_str();
        if let Some(rest) = text.strip_prefix(".reg") {
            let names = rest.trim().split_once(char::is_whitespace).map_or("", |(_, names)| names);
            scope.declare(names)?;
        } else if text.starts_with(".shared") {
            let (name, bytes, align) = declaration(text)?;
            shared = shared.next_multiple_of(align);
            scope.symbols.insert(name, shared as u64);
            shared += bytes;
        } else if let Some(label) = text.strip_suffix(':') {
            scope.labels.insert(label.trim().to_owned(), index);
        } else if is_instruction(text) {
            index += 1;
        }
    }
    let dynamic_base = shared.next_multiple_of(128);
    for symbol in dynamic {
        scope.symbols.insert(symbol.clone(), dynamic_base as u64);
    }
    let code = body
        .iter()
        .filter(|statement| is_instruction(&statement.text))
        .map(|statement| decode::decode(statement, &scope))
        .collect::<Result<Vec<_>>>()?;
    Ok(Kernel {
        name: name.trim().to_owned(),
        parameters,
        registers: scope.count as usize,
        static_shared_bytes: shared - SHARED_BASE as usize,
        dynamic_shared_offset: dynamic_base - SHARED_BASE as usize,
        threads_max: threads_max(directives),
        code,
    })
}

fn threads_max(directives: &str) -> Option<usize> {
    let rest = directives.split_once(".maxntid")?.1;
    let axes = rest.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty()).take(3);
    Some(axes.filter_map(|word| word.parse::<usize>().ok()).product())
}
