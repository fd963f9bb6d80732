//! Numbers of things on the command line, and how many may be asked for.

use toml::Value;

use crate::error::{HarnessError, Result};
use crate::process;

/// Threads of a run, and runs at a time, that may be asked for: more than any machine has.
const WORKERS_MAX: u64 = 4096;

/// The number given with `--option`, if it is one to `most`.
pub fn counted(option: &str, number: u64, most: u64) -> Result<u64> {
    if (1..=most).contains(&number) {
        return Ok(number);
    }
    let hint = format!("give a number from 1 to {most}");
    Err(HarnessError::config(format!("--{option} {number}"), hint))
}

/// The number given with `--option` as a value of a configuration, whose numbers end earlier.
pub fn integer(option: &str, number: u64) -> Result<Value> {
    i64::try_from(number).map(Value::Integer).map_err(|_| {
        HarnessError::config(
            format!("--{option} {number} is too large"),
            format!("give a number up to {}", i64::MAX),
        )
    })
}

/// `--threads`, if it can be.
pub fn threads(asked: Option<usize>) -> Result<Option<usize>> {
    let counted = |threads| counted("threads", threads as u64, WORKERS_MAX);
    asked.map(|threads| counted(threads).map(|_| threads)).transpose()
}

/// `--jobs`, or the number of cores.
pub fn jobs(asked: Option<usize>) -> Result<usize> {
    match asked {
        Some(jobs) => counted("jobs", jobs as u64, WORKERS_MAX).map(|jobs| jobs as usize),
        None => Ok(process::cores()),
    }
}
