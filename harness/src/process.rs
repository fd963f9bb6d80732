//! Settings of the whole process that candle's speed on a CPU depends on.

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
    const VARIABLE: &str = "RAYON_NUM_THREADS";
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    #[expect(unsafe_code, reason = "the environment is changed before any thread exists")]
    // SAFETY: called first in main, so no other thread can read the environment meanwhile.
    unsafe {
        std::env::set_var(VARIABLE, cores.to_string());
    }
}
