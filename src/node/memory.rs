//! Gives freed memory back to the system.

/// After a model has been dropped, glibc keeps most of its memory for later, because weights of up to 32 MB each come
/// from its own heaps; this gives it back. Takes some milliseconds. Does nothing with other C libraries.
pub(super) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "there is no safe wrapper of this call")]
    {
        unsafe extern "C" {
            /// <https://man7.org/linux/man-pages/man3/malloc_trim.3.html>
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: the function takes a number, may be called from any thread at any time, and touches free memory only.
        unsafe {
            malloc_trim(0);
        }
    }
}
