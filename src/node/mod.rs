//! Floor 9: one broker process: its configuration, its data folder, and the wiring of its cores.
#![allow(clippy::disallowed_methods, reason = "the outermost floors may touch the operating system")]

pub mod config;
pub mod data_dir;
pub mod descriptors;
pub mod folder_lock;
pub mod memory;
pub mod run;
pub mod topology;
