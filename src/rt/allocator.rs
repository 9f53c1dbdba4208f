//! The allocator of the program and how it is set. A library does not choose one: `main.rs` does.
#![allow(unsafe_code, reason = "the allocator reads its settings from a symbol of a given name")]

use std::ffi::c_char;

pub use tikv_jemallocator::Jemalloc as Allocator;

/// Settings as jemalloc wants them: where a C string begins.
#[derive(Debug)]
#[repr(transparent)]
pub struct Settings(*const c_char);

// SAFETY: it points to a constant that lives as long as the program and is never written.
unsafe impl Sync for Settings {}

/// Blocks of 2 MiB and more go back to the system when they are freed, so that a burst of large requests does not stay
/// resident; smaller ones within ten seconds of further work, so that frames and chunks of a megabyte are used again
/// without a page fault for each of their pages. The names are those of jemalloc(3).
// SAFETY: jemalloc declares this symbol as `const char *`, reads a string with a zero at its end from it, and nothing
// else has the name.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static SETTINGS: Settings = Settings(c"oversize_threshold:2097152".as_ptr());
