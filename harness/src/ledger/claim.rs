//! Exclusive claims on run folders, for threads and processes on one machine or a shared file
//! system.
//!
//! Claims of a run are numbered files `claim-<generation>`; the highest one holds. Creating a
//! file that must not exist is atomic, so only one worker can create the next generation. A
//! claim is free once its owner marked it released, or its process is known to be gone, or its
//! heartbeat (the file's modification time) is old. Ages are measured against the file system's
//! own clock, so machines with different clocks agree.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{HarnessError, Result};

const PREFIX: &str = "claim-";

/// How often a claim shows that it is alive, and when it no longer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimTiming {
    /// Time between heartbeats.
    pub heartbeat: Duration,
    /// Age of the last heartbeat from which on anyone may take over.
    pub stale_after: Duration,
}

impl Default for ClaimTiming {
    fn default() -> Self {
        Self { heartbeat: Duration::from_secs(10), stale_after: Duration::from_secs(90) }
    }
}

/// What a claim file says about its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    pid: u32,
    /// Hash that tells machines (and process namespaces) apart without naming them.
    machine: String,
    released: bool,
}

impl Owner {
    fn this_process() -> Self {
        Self { pid: std::process::id(), machine: machine(), released: false }
    }

    fn is_gone(&self) -> bool {
        let here = !self.machine.is_empty() && self.machine == machine();
        here && !Path::new("/proc").join(self.pid.to_string()).exists()
    }
}

/// Hash of boot and process namespace; empty where the system does not tell.
fn machine() -> String {
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id");
    let namespace = std::fs::read_link("/proc/self/ns/pid");
    let (Ok(boot), Ok(namespace)) = (boot, namespace) else { return String::new() };
    let mut hasher = blake3::Hasher::new();
    hasher.update(&boot).update(namespace.to_string_lossy().as_bytes());
    hasher.finalize().to_hex()[..16].to_owned()
}

/// A claim that this process holds. Its heart beats until it is dropped or released.
#[derive(Debug)]
pub(super) struct Hold {
    folder: PathBuf,
    generation: u64,
    lost: Arc<AtomicBool>,
    heart: Option<(Sender<()>, JoinHandle<()>)>,
}

/// Takes the claim on `folder`, or `None` if another worker holds it.
pub(super) fn take(folder: &Path, timing: ClaimTiming) -> Result<Option<Hold>> {
    loop {
        let newest = newest_generation(folder)?;
        if let Some(generation) = newest
            && is_held(folder, generation, timing)?
        {
            return Ok(None);
        }
        let generation = newest.map_or(1, |newest| newest + 1);
        let path = claim_path(folder, generation);
        let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(HarnessError::io(&path)(error)),
        };
        let text = serde_json::to_vec(&Owner::this_process()).expect("an owner is plain data");
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(HarnessError::io(&path))?;
        // Someone may have created a higher one and tidied up between our look and our file.
        if newest_generation(folder)? != Some(generation) {
            remove(&path)?;
            return Ok(None);
        }
        for old in generations(folder)?.into_iter().filter(|&old| old < generation) {
            remove(&claim_path(folder, old))?;
        }
        return Ok(Some(Hold::start(folder, generation, timing)));
    }
}

/// Deletes the claims on a run that is done: a worker that was killed after it had marked the run
/// left its own, and one that is about to delete its own misses nothing.
pub(super) fn clear(folder: &Path) -> Result<()> {
    generations(folder)?.into_iter().try_for_each(|claim| remove(&claim_path(folder, claim)))
}

/// Whether a live worker holds the claim on `folder`.
pub(super) fn is_claimed(folder: &Path, timing: ClaimTiming) -> Result<bool> {
    newest_generation(folder)?.map_or(Ok(false), |newest| is_held(folder, newest, timing))
}

impl Hold {
    fn start(folder: &Path, generation: u64, timing: ClaimTiming) -> Self {
        let lost = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = channel::<()>();
        let (place, flag) = (folder.to_owned(), Arc::clone(&lost));
        let heart = std::thread::spawn(move || {
            while receiver.recv_timeout(timing.heartbeat) == Err(RecvTimeoutError::Timeout) {
                if !beat(&place, generation) {
                    flag.store(true, Ordering::Relaxed);
                    break;
                }
            }
        });
        Self { folder: folder.to_owned(), generation, lost, heart: Some((sender, heart)) }
    }

    /// Whether the claim is still ours: false once another worker took it over, which happens
    /// only if this process was stopped for longer than the stale time.
    pub(super) fn is_ours(&self) -> Result<bool> {
        let newest = newest_generation(&self.folder)?;
        Ok(!self.lost.load(Ordering::Relaxed) && newest == Some(self.generation))
    }

    fn stop_heart(&mut self) {
        if let Some((sender, heart)) = self.heart.take() {
            drop(sender);
            // A heart that panicked has nothing left to stop.
            let _ = heart.join();
        }
    }

    /// Deletes the claim of a run that needs no further work.
    pub(super) fn remove(mut self) -> Result<()> {
        self.stop_heart();
        remove(&claim_path(&self.folder, self.generation))
    }
}

/// Marks the claim as released, so that anyone can go on at once.
impl Drop for Hold {
    fn drop(&mut self) {
        if self.heart.is_some() {
            self.stop_heart();
            let path = claim_path(&self.folder, self.generation);
            let owner = Owner { released: true, ..Owner::this_process() };
            let text = serde_json::to_vec(&owner).expect("an owner is plain data");
            let write = || File::options().write(true).truncate(true).open(&path)?.write_all(&text);
            if let Err(error) = write()
                && error.kind() != ErrorKind::NotFound
            {
                tracing::warn!("{}: the claim could not be released: {error}", path.display());
            }
        }
    }
}

/// Renews the heartbeat by writing the first byte again; false if the claim was taken over.
fn beat(folder: &Path, generation: u64) -> bool {
    let path = claim_path(folder, generation);
    let renewed = File::options().write(true).open(&path).and_then(|mut file| {
        file.write_all(b"{")?;
        file.sync_all()
    });
    match renewed {
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        // A file system that is away for a while must not end the run.
        _ => !matches!(newest_generation(folder), Ok(newest) if newest != Some(generation)),
    }
}

/// A claim as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// Time since the owner last showed that it is alive.
    pub age: Duration,
    /// The owner gave the claim back.
    pub released: bool,
    /// The claim counts: not released, its process not known to be gone, its heartbeat young.
    pub held: bool,
}

/// The newest claim on `folder`, if there is one.
pub(super) fn heartbeat(folder: &Path, timing: ClaimTiming) -> Result<Option<Heartbeat>> {
    newest_generation(folder)?.map_or(Ok(None), |newest| look(folder, newest, timing))
}

fn is_held(folder: &Path, generation: u64, timing: ClaimTiming) -> Result<bool> {
    Ok(look(folder, generation, timing)?.is_some_and(|heartbeat| heartbeat.held))
}

/// The claim of one generation; `None` once it is deleted.
fn look(folder: &Path, generation: u64, timing: ClaimTiming) -> Result<Option<Heartbeat>> {
    let path = claim_path(folder, generation);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(HarnessError::io(&path)(error)),
    };
    // A claim that is being written cannot be read yet; its age decides.
    let owner = serde_json::from_slice::<Owner>(&text).ok();
    let released = owner.as_ref().is_some_and(|owner| owner.released);
    let gone = owner.is_some_and(|owner| owner.is_gone());
    let beaten = match std::fs::metadata(&path).and_then(|metadata| metadata.modified()) {
        Ok(beaten) => beaten,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(HarnessError::io(&path)(error)),
    };
    let probe = tempfile::Builder::new().prefix(".clock-").tempfile_in(folder);
    let now = probe.and_then(|probe| probe.as_file().metadata()?.modified());
    let now = now.map_err(HarnessError::io(folder))?;
    // A clock that went backwards leaves heartbeats in the future. A living owner beats again
    // soon and so returns to the present; the distance is then that of the last sign of life.
    let age = now.duration_since(beaten).unwrap_or_else(|ahead| ahead.duration());
    let held = !released && !gone && age < timing.stale_after;
    Ok(Some(Heartbeat { age, released, held }))
}

fn claim_path(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("{PREFIX}{generation:06}"))
}

fn newest_generation(folder: &Path) -> Result<Option<u64>> {
    Ok(generations(folder)?.into_iter().max())
}

fn generations(folder: &Path) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(HarnessError::io(folder)(error)),
    };
    for entry in entries {
        let name = entry.map_err(HarnessError::io(folder))?.file_name();
        let generation = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        found.extend(generation.and_then(|digits| digits.parse::<u64>().ok()));
    }
    Ok(found)
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(HarnessError::io(path)(error)),
        _ => Ok(()),
    }
}
