//! Keeps large buffers inside the process between steps.
//!
//! glibc returns big blocks to the system at once, so every tensor of the reference path would
//! pay for its page faults again at each step: training time nearly doubles.

/// Raises the allocator's thresholds; a no-op where glibc is not the allocator.
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
