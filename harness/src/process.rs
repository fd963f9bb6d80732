//! Settings of the whole process that candle's speed on a CPU depends on, and its memory.

/// The variable from which candle reads its number of threads.
const THREADS_VARIABLE: &str = "RAYON_NUM_THREADS";

/// Keeps large buffers inside the process between steps; a no-op where glibc is not the
/// allocator. glibc returns big blocks to the system at once, so every tensor of the reference
/// path would pay for its page faults again at each step: training time nearly doubles.
pub fn keep_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const LARGEST_KEPT_BYTES: libc::c_int = 1 << 30;
        const SLACK_BYTES: libc::c_int = 64 << 20;
        #[expect(unsafe_code, reason = "mallopt only changes thresholds of the C allocator")]
        // SAFETY: called once at start-up with documented option codes; failure returns 0 and
        // leaves the defaults, which is only slower.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES);
            libc::mallopt(libc::M_TRIM_THRESHOLD, LARGEST_KEPT_BYTES);
            libc::mallopt(libc::M_TOP_PAD, SLACK_BYTES);
        }
    }
}

/// Tells candle the number of threads through the variable it reads. Without it candle asks the
/// system for its processors at every product, which makes small products several times slower.
/// Must be called before any thread is started.
pub fn fix_candle_threads() {
    if std::env::var_os(THREADS_VARIABLE).is_some() {
        return;
    }
    set_candle_threads(cores());
}

/// Makes candle use `threads` threads. Must be called before any thread is started.
///
/// # Panics
/// If this process has other threads already, where the system tells (Linux).
pub fn set_candle_threads(threads: usize) {
    let running = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    assert!(running <= 1, "{running} threads run while the environment is to be changed");
    #[expect(unsafe_code, reason = "the environment is changed before any thread exists")]
    // SAFETY: this is the only thread, by the assertion or, where the system does not tell, by
    // the callers, so none can read the environment meanwhile.
    unsafe {
        std::env::set_var(THREADS_VARIABLE, threads.to_string());
    }
}

/// Processors this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Highest resident memory of this process so far, in bytes; `None` where the system does not
/// tell (`VmHWM` of Linux).
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// Memory of the machine and what of it is free for use, in bytes.
pub fn machine_memory_bytes() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kibi| kibi << 10)
    };
    Some((value("MemTotal:")?, value("MemAvailable:")?))
}

#[cfg(test)]
mod tests {
    /// Tests run on threads of their own, beside that of the program.
    #[test]
    #[cfg(target_os = "linux")]
    #[should_panic(expected = "threads run while the environment is to be changed")]
    fn invariant_the_environment_is_not_changed_beside_other_threads() {
        super::set_candle_threads(1);
    }
}
