//! Numbers of things on the command line, and how many may be asked for.

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
