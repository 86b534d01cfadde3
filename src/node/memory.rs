//! What the system's allocator keeps. Does nothing with C libraries other than glibc, whose ways these are.
//!
//! glibc puts blocks of up to 32 MB on its heaps once a block of that size was freed, has a heap for nearly every thread,
//! and gives the end of a heap back only when so much of it is free that the weights of a network never are. A node that
//! is configured and cleaned up again and again would keep the memory of a model on one heap after another.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "there are no safe wrappers of these calls")]
mod glibc {
    use std::ffi::c_int;

    /// Numbers of `mallopt`, from `malloc.h`.
    const M_TRIM_THRESHOLD: c_int = -1;
    const M_MMAP_THRESHOLD: c_int = -3;

    /// Blocks of this size and larger are mapped on their own, and unmapped when freed; so much at the end of a heap is
    /// given back. Larger than a row of a picture, smaller than most weights: 256 KiB.
    const THRESHOLD: c_int = 256 * 1024;

    unsafe extern "C" {
        /// <https://man7.org/linux/man-pages/man3/mallopt.3.html>
        fn mallopt(parameter: c_int, value: c_int) -> c_int;
        /// <https://man7.org/linux/man-pages/man3/malloc_trim.3.html>
        fn malloc_trim(pad: usize) -> c_int;
    }

    pub(super) fn set_thresholds() {
        // SAFETY: the function takes numbers, and may be called from any thread; the process has one at this time.
        unsafe {
            mallopt(M_MMAP_THRESHOLD, THRESHOLD);
            mallopt(M_TRIM_THRESHOLD, THRESHOLD);
        }
    }

    pub(super) fn trim() {
        // SAFETY: the function takes a number, may be called from any thread at any time, and touches free memory only.
        unsafe {
            malloc_trim(0);
        }
    }
}

/// Has large blocks given back when they are freed. To be called once, before there are other threads.
pub fn give_back_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::set_thresholds();
}

/// Gives freed memory back to the system, after a model has been dropped. Takes some milliseconds.
pub(super) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::trim();
}
