//! Runs the contract against every real driver of this build.

use std::thread;
use std::time::Duration;

use super::{Rig, disk, failures, net, staged, turns};
use crate::base::ids::CoreId;
use crate::port::turn::Machine;
use crate::rt::{DriverKind, DriverOptions, probe, run};

/// A real driver in a temporary folder.
#[derive(Clone, Copy)]
pub struct Real(pub DriverKind);

impl Real {
    pub fn options(&self, cores: u16) -> (tempfile::TempDir, DriverOptions) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut options = DriverOptions::new(folder.path().to_path_buf());
        options.cores = vec![None; usize::from(cores)];
        (folder, options)
    }
}

impl Rig for Real {
    fn run<M: Machine>(
        &self,
        cores: u16,
        stop_after_ms: Option<u64>,
        build: impl Fn(CoreId) -> M + Send + Sync + Clone + 'static,
    ) {
        let (_folder, options) = self.options(cores);
        let running = run(self.0, options, build).expect("start");
        if let Some(ms) = stop_after_ms {
            thread::sleep(Duration::from_millis(ms));
            running.stop_handle().request_stop();
        }
        if let Err(error) = running.join() {
            panic!("{}: {error}", self.0);
        }
    }
}

/// The io_uring cases run wherever io_uring is allowed.
fn uring() -> Option<Real> {
    match probe::uring() {
        Ok(_) => Some(Real(DriverKind::Uring)),
        Err(reason) => {
            eprintln!("io_uring case skipped: {reason}");
            None
        }
    }
}

/// The glommio cases run wherever it could.
#[cfg(feature = "glommio")]
fn glommio() -> Option<Real> {
    match probe::glommio() {
        Ok(()) => Some(Real(DriverKind::Glommio)),
        Err(reason) => {
            eprintln!("glommio case skipped: {reason}");
            None
        }
    }
}

macro_rules! cases {
    ($($module:ident :: $case:ident),* $(,)?) => {
        mod on_posix {
            use super::*;
            $(#[test] fn $case() { $module::$case(&Real(DriverKind::Posix)); })*
        }
        mod on_uring {
            use super::*;
            $(#[test] fn $case() { if let Some(real) = uring() { $module::$case(&real); } })*
        }
        #[cfg(feature = "glommio")]
        mod on_glommio {
            use super::*;
            $(#[test] fn $case() { if let Some(real) = glommio() { $module::$case(&real); } })*
        }
    };
}

cases! {
    disk::written_blocks_are_read_back,
    disk::parts_of_files_are_staged,
    disk::alignment_is_asked_of_direct_files_only,
    disk::zero_fill_extends_with_zeros_and_touches_nothing_else,
    disk::reserving_extends_with_zeros_and_touches_nothing,
    disk::set_len_cuts_and_extends,
    disk::small_files_are_replaced_whole,
    disk::folders_are_made_listed_renamed_and_removed,
    disk::missing_files_are_not_found,
    disk::bad_paths_are_refused,
    disk::file_numbers_are_reused_after_close,
    disk::many_operations_at_once,
    turns::timers_are_never_early_and_seldom_late,
    turns::work_left_over_gets_its_turn_at_once,
    turns::an_idle_core_sleeps_until_mail_comes,
    turns::cores_wake_one_another,
    turns::mail_keeps_its_order,
    turns::mail_to_a_slow_core_waits,
    turns::stop_wakes_every_machine_and_its_last_effects_are_carried_out,
    net::bytes_come_back_as_they_were_sent,
    net::a_half_closed_client_still_gets_its_answer,
    net::a_reset_is_noticed_and_closed,
    net::a_machine_that_does_not_read_holds_its_client_back,
    net::a_close_ends_what_is_in_flight,
    net::two_hundred_connections_are_dealt_to_the_cores,
    net::connections_beyond_the_limit_are_closed_at_once,
    net::ids_are_never_given_twice,
    staged::what_was_staged_is_sent_between_parts_in_memory_to_slow_readers_too,
    staged::a_staged_file_that_is_cut_breaks_the_connection,
    staged::a_staged_file_that_is_closed_is_sent_all_the_same,
    failures::a_panic_ends_the_process_in_order,
    failures::a_core_that_does_not_stop_after_a_failure_is_left_behind,
    failures::accepting_rests_while_descriptors_are_short,
    failures::what_cannot_start_says_why,
}
