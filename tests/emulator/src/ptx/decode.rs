//! A mnemonic and its operands to an [`Operation`].

use super::instruction::{
    Arithmetic, Instruction, Logic, Operation, Rounding, Shuffle, Source, Space, Test, Vote,
};
use super::scope::Scope;
use super::statements::{Statement, split};
use super::types::Type;
use crate::fault::{Fault, Kind, Result};

/// One instruction, its words and operands apart.
struct Parts<'a> {
    scope: &'a Scope,
    words: Vec<&'a str>,
    kinds: Vec<Type>,
    operands: Vec<&'a str>,
}

fn not_understood(what: impl Into<String>) -> Fault {
    Fault::new(Kind::NotUnderstood, what)
}

/// The instruction that `statement` is.
pub fn decode(statement: &Statement, scope: &Scope) -> Result<Instruction> {
    let place =
        |fault: Fault| fault.at(&format!("line {}: {}", statement.line + 1, statement.text));
    let mut rest = statement.text.as_str();
    let mut guard = None;
    if let Some(guarded) = rest.strip_prefix('@') {
        let (predicate, after) = guarded
            .split_once(char::is_whitespace)
            .ok_or_else(|| place(not_understood("a guard without instruction")))?;
        let (negated, name) = predicate.strip_prefix('!').map_or((false, predicate), |p| (true, p));
        guard = Some((scope.register(name).map_err(place)?, negated));
        rest = after.trim();
    }
    let (head, operands) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let words: Vec<&str> = head.split('.').collect();
    let kinds = words.iter().filter_map(|word| Type::parse(word)).collect();
    let parts = Parts { scope, words, kinds, operands: split(operands) };
    let (mnemonic, operation) = parts.operation().map_err(place)?;
    Ok(Instruction { operation, mnemonic, guard, line: statement.line })
}

impl Parts<'_> {
    fn has(&self, word: &str) -> bool {
        self.words.contains(&word)
    }

    fn kind(&self, at: usize) -> Result<Type> {
        self.kinds.get(at).copied().ok_or_else(|| not_understood("a type is missing"))
    }

    fn operand(&self, at: usize) -> Result<&str> {
        self.operands.get(at).copied().ok_or_else(|| not_understood("an operand is missing"))
    }

    fn source(&self, at: usize) -> Result<Source> {
        self.scope.source(self.operand(at)?)
    }

    fn target(&self) -> Result<Option<u32>> {
        self.scope.target(self.operand(0)?)
    }

    fn value(&self, at: usize) -> Result<u64> {
        match self.source(at)? {
            Source::Value(value) => Ok(value),
            _ => Err(not_understood("a number is expected")),
        }
    }

    fn operation(&self) -> Result<(&'static str, Operation)> {
        Ok(match self.words[0] {
            "ld" => ("ld", self.load()?),
            "st" => ("st", self.store()?),
            "mov" => ("mov", self.mov()?),
            "cvta" => ("cvta", Operation::Move { to: self.target()?, from: self.source(1)? }),
            "selp" => ("selp", self.select()?),
            "setp" => ("setp", self.compare()?),
            "cvt" => ("cvt", self.convert()?),
            "bra" => ("bra", Operation::Branch { to: self.scope.label(self.operand(0)?)? }),
            "ret" | "exit" => ("ret", Operation::Return),
            "bar" | "barrier" => self.barrier()?,
            "membar" | "fence" => ("fence", Operation::Fence),
            "cp" => self.copy()?,
            "ldmatrix" => ("ldmatrix", self.load_matrix()?),
            "mma" => ("mma", self.multiply_matrix()?),
            "shfl" => ("shfl", self.shuffle()?),
            "vote" => ("vote", self.vote()?),
            "activemask" => ("activemask", Operation::ActiveLanes { to: self.target()? }),
            _ => self.arithmetic()?,
        })
    }

    fn space(&self) -> Space {
        if self.has("shared") { Space::Shared } else { Space::Global }
    }

    fn load(&self) -> Result<Operation> {
        let (kind, to) = (self.kind(0)?, self.scope.targets(self.operand(0)?)?);
        let place = self.operand(1)?;
        if self.has("param") {
            let offset = self.scope.parameter(place)?;
            let offset = offset.ok_or_else(|| not_understood("an unknown parameter"))?;
            return Ok(Operation::LoadParameter { kind, to, offset });
        }
        Ok(Operation::Load { space: self.space(), kind, to, from: self.scope.address(place)? })
    }

    fn store(&self) -> Result<Operation> {
        Ok(Operation::Store {
            space: self.space(),
            kind: self.kind(0)?,
            from: self.scope.sources(self.operand(1)?)?,
            to: self.scope.address(self.operand(0)?)?,
        })
    }

    fn mov(&self) -> Result<Operation> {
        let bits = self.kind(0)?.bits();
        let (to, from) = (self.operand(0)?, self.operand(1)?);
        if to.starts_with('{') {
            let to = self.scope.targets(to)?;
            let bits = bits / to.len() as u32;
            return Ok(Operation::Unpack { to, from: self.source(1)?, bits });
        }
        if from.starts_with('{') {
            let from = self.scope.sources(from)?;
            let bits = bits / from.len() as u32;
            return Ok(Operation::Pack { to: self.target()?, from, bits });
        }
        Ok(Operation::Move { to: self.target()?, from: self.source(1)? })
    }

    fn select(&self) -> Result<Operation> {
        Ok(Operation::Select {
            to: self.target()?,
            yes: self.source(1)?,
            no: self.source(2)?,
            predicate: self.source(3)?,
        })
    }

    fn compare(&self) -> Result<Operation> {
        let test = match *self.words.get(1).unwrap_or(&"") {
            "eq" => Test::Equal,
            "ne" => Test::NotEqual,
            "lt" | "lo" => Test::Less,
            "le" | "ls" => Test::LessEqual,
            "gt" | "hi" => Test::Greater,
            "ge" | "hs" => Test::GreaterEqual,
            "equ" => Test::EqualUnordered,
            "neu" => Test::NotEqualUnordered,
            "ltu" => Test::LessUnordered,
            "leu" => Test::LessEqualUnordered,
            "gtu" => Test::GreaterUnordered,
            "geu" => Test::GreaterEqualUnordered,
            "num" => Test::Numbers,
            "nan" => Test::NotANumber,
            other => return Err(not_understood(format!("comparison {other}"))),
        };
        let with = match (self.operands.len(), *self.words.get(2).unwrap_or(&"")) {
            (3, _) => None,
            (4, "and") => Some((Logic::And, self.source(3)?)),
            (4, "or") => Some((Logic::Or, self.source(3)?)),
            (4, "xor") => Some((Logic::Xor, self.source(3)?)),
            _ => return Err(not_understood("combination of a comparison")),
        };
        let (to, opposite) = self.scope.pair(self.operand(0)?)?;
        let (a, b) = (self.source(1)?, self.source(2)?);
        Ok(Operation::Compare { to, opposite, test, kind: self.kind(0)?, a, b, with })
    }

    fn convert(&self) -> Result<Operation> {
        let (to, into) = (self.target()?, self.kind(0)?);
        if matches!(into, Type::Bf16x2 | Type::F16x2) {
            let (high, low) = (self.source(1)?, self.source(2)?);
            return Ok(Operation::PackHalves { to, kind: into, high, low });
        }
        let rounding = if self.has("rni") {
            Rounding::NearestEven
        } else if self.has("rmi") {
            Rounding::Down
        } else if self.has("rpi") {
            Rounding::Up
        } else {
            Rounding::Zero
        };
        Ok(Operation::Convert { to, into, of: self.kind(1)?, from: self.source(1)?, rounding })
    }

    fn barrier(&self) -> Result<(&'static str, Operation)> {
        if self.has("warp") {
            return Ok(("bar.warp", Operation::WarpBarrier { members: self.source(0)? }));
        }
        // Barrier 0 of the whole block is all that `__syncthreads` makes.
        if self.operands.len() != 1 || self.value(0)? != 0 {
            return Err(not_understood("a barrier of a part of the block"));
        }
        Ok(("bar", Operation::Barrier))
    }

    fn copy(&self) -> Result<(&'static str, Operation)> {
        if self.has("commit_group") {
            return Ok(("cp.commit", Operation::CopyCommit));
        }
        if self.has("wait_all") {
            return Ok(("cp.wait", Operation::CopyWait { pending: 0 }));
        }
        if self.has("wait_group") {
            return Ok(("cp.wait", Operation::CopyWait { pending: self.value(0)? as usize }));
        }
        let bytes = self.value(2)?;
        let given = if self.operands.len() > 3 { self.source(3)? } else { Source::Value(bytes) };
        let to = self.scope.address(self.operand(0)?)?;
        let from = self.scope.address(self.operand(1)?)?;
        Ok(("cp.async", Operation::CopyAsync { to, from, bytes: bytes as usize, given }))
    }

    fn load_matrix(&self) -> Result<Operation> {
        if !(self.has("m8n8") && self.has("b16")) {
            return Err(not_understood("a shape of ldmatrix"));
        }
        Ok(Operation::LoadMatrix {
            to: self.scope.targets(self.operand(0)?)?,
            from: self.scope.address(self.operand(1)?)?,
            turned: self.has("trans"),
        })
    }

    fn multiply_matrix(&self) -> Result<Operation> {
        let [Type::F32, kind @ (Type::Bf16 | Type::F16), other, Type::F32] = self.kinds[..] else {
            return Err(not_understood("types of mma"));
        };
        if other != kind || !self.has("m16n8k16") {
            return Err(not_understood("a shape of mma"));
        }
        Ok(Operation::MultiplyMatrix {
            kind,
            to: self.scope.targets(self.operand(0)?)?,
            a: self.scope.sources(self.operand(1)?)?,
            b: self.scope.sources(self.operand(2)?)?,
            c: self.scope.sources(self.operand(3)?)?,
        })
    }

    fn shuffle(&self) -> Result<Operation> {
        let (to, valid) = self.scope.pair(self.operand(0)?)?;
        let how = match self.words.iter().find(|w| ["up", "down", "bfly", "idx"].contains(*w)) {
            Some(&"up") => Shuffle::Up,
            Some(&"down") => Shuffle::Down,
            Some(&"bfly") => Shuffle::Butterfly,
            Some(_) => Shuffle::Index,
            None => return Err(not_understood("a shuffle")),
        };
        let [value, lane, clamp, members] =
            [self.source(1)?, self.source(2)?, self.source(3)?, self.source(4)?];
        Ok(Operation::Shuffle { to, valid, how, value, lane, clamp, members })
    }

    fn vote(&self) -> Result<Operation> {
        let what = if self.has("ballot") {
            Vote::Ballot
        } else if self.has("all") {
            Vote::All
        } else if self.has("any") {
            Vote::Any
        } else {
            return Err(not_understood("a vote"));
        };
        let (predicate, members) = (self.source(1)?, self.source(2)?);
        Ok(Operation::Vote { to: self.target()?, what, predicate, members })
    }

    fn arithmetic(&self) -> Result<(&'static str, Operation)> {
        let (mnemonic, what) = self.arithmetic_name()?;
        let mut inputs = [Source::Value(0); 4];
        for (at, input) in inputs.iter_mut().enumerate().take(self.operands.len() - 1) {
            *input = self.source(at + 1)?;
        }
        let (to, kind) = (self.target()?, self.kind(0)?);
        Ok((mnemonic, Operation::Arithmetic { to, what, kind, inputs, flush: self.has("ftz") }))
    }

    fn arithmetic_name(&self) -> Result<(&'static str, Arithmetic)> {
        let (wide, high) = (self.has("wide"), self.has("hi"));
        Ok(match self.words[0] {
            "add" => ("add", Arithmetic::Add),
            "sub" => ("sub", Arithmetic::Subtract),
            "mul" if wide => ("mul.wide", Arithmetic::MultiplyWide),
            "mul" if high => ("mul.hi", Arithmetic::MultiplyHigh),
            "mul" => ("mul", Arithmetic::Multiply),
            "mad" if wide => ("mad.wide", Arithmetic::MultiplyAddWide),
            "mad" if !high => ("mad", Arithmetic::MultiplyAdd),
            "fma" => ("fma", Arithmetic::MultiplyAdd),
            "div" => ("div", Arithmetic::Divide),
            "rem" => ("rem", Arithmetic::Remainder),
            "min" => ("min", Arithmetic::Minimum),
            "max" => ("max", Arithmetic::Maximum),
            "neg" => ("neg", Arithmetic::Negate),
            "abs" => ("abs", Arithmetic::Absolute),
            "copysign" => ("copysign", Arithmetic::CopySign),
            "and" => ("and", Arithmetic::And),
            "or" => ("or", Arithmetic::Or),
            "xor" => ("xor", Arithmetic::Xor),
            "not" => ("not", Arithmetic::Not),
            "shl" => ("shl", Arithmetic::ShiftLeft),
            "shr" => ("shr", Arithmetic::ShiftRight),
            "lop3" => ("lop3", Arithmetic::Logic3),
            "bfi" => ("bfi", Arithmetic::InsertBits),
            "bfe" => ("bfe", Arithmetic::ExtractBits),
            "prmt" => ("prmt", Arithmetic::PermuteBytes),
            "shf" if self.has("l") => ("shf", Arithmetic::FunnelLeft),
            "shf" if self.has("r") => ("shf", Arithmetic::FunnelRight),
            "popc" => ("popc", Arithmetic::CountOnes),
            "clz" => ("clz", Arithmetic::LeadingZeros),
            "rcp" => ("rcp", Arithmetic::Reciprocal),
            "sqrt" => ("sqrt", Arithmetic::Root),
            "rsqrt" => ("rsqrt", Arithmetic::ReciprocalRoot),
            "ex2" => ("ex2", Arithmetic::Exponential2),
            "lg2" => ("lg2", Arithmetic::Logarithm2),
            "tanh" => ("tanh", Arithmetic::Tanh),
            other => return Err(not_understood(format!("instruction {other}"))),
        })
    }
}
