//! An allocator that counts what each thread takes from the heap. Whoever includes this file counts from then on.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    /// Initialised without taking memory, as an allocator must.
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // At the end of a thread there may be nothing left to count with.
    let _ = TAKEN.try_with(|taken| taken.set(taken.get() + 1));
}

/// Blocks taken from the heap by this thread up to now.
pub fn taken() -> usize {
    TAKEN.with(Cell::get)
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its nature")]
// SAFETY: every call goes unchanged to the system's allocator, which keeps the promises of `GlobalAlloc`; the counter is
// a thread's own, takes no memory and does not unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller promises what `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller promises what `System` asks for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller promises what `System` asks for, and the pointer came from there.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller promises what `System` asks for, and the pointer came from there.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
