//! Stopping by a signal.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{HarnessError, Result};

/// Exit code of a process that leaves at the second signal.
const SIGNAL_EXIT: i32 = 130;

static STOP: AtomicBool = AtomicBool::new(false);

/// Lets the first Ctrl-C, SIGTERM or SIGHUP set the returned flag, which
/// [`TrainJob`](super::TrainJob) obeys after its current step with a checkpoint; the second
/// leaves at once. May be called more than once.
///
/// # Errors
/// If the system does not accept a handler.
pub fn on_signal() -> Result<&'static AtomicBool> {
    static INSTALLED: OnceLock<std::result::Result<(), String>> = OnceLock::new();
    let installed =
        INSTALLED.get_or_init(|| ctrlc::set_handler(handle).map_err(|error| error.to_string()));
    match installed {
        Ok(()) => Ok(&STOP),
        Err(problem) => Err(HarnessError::Unavailable {
            what: format!("stopping by a signal ({problem})"),
            hint: "run crossscale as a process of its own".to_owned(),
        }),
    }
}

#[expect(clippy::exit, reason = "a second signal means now")]
fn handle() {
    if STOP.swap(true, Ordering::SeqCst) {
        std::process::exit(SIGNAL_EXIT);
    }
    let notice = "stopping after the current step; once more to leave at once";
    // A closed stderr must not keep a run from saving its state.
    let _ = writeln!(std::io::stderr(), "{notice}");
}
