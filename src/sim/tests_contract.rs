//! The contract suite of the drivers, run against the made-up world.

use super::disk::DiskProfile;
use super::net::NetProfile;
use super::world::{Outward, World};
use crate::base::ids::CoreId;
use crate::port::turn::Machine;
use crate::rt::contract::{CASE_MS_MAX, Rig, disk, turns};

/// A world with this seed.
struct Simulated(u64);

impl Rig for Simulated {
    fn run<M: Machine>(
        &self,
        cores: u16,
        stop_after_ms: Option<u64>,
        build: impl Fn(CoreId) -> M + Send + Sync + Clone + 'static,
    ) {
        let mut world = World::new(self.0, cores, DiskProfile::default(), NetProfile::default(), false);
        world.start((0..cores).map(|core| build(CoreId(core))).collect());
        if let Some(ms) = stop_after_ms {
            world.set_timer(ms * 1_000_000, 0);
        }
        let until = world.now.plus_ms(2 * CASE_MS_MAX);
        loop {
            match world.step(until) {
                Some(Outward::Timer(_)) => world.request_stop(),
                Some(Outward::Stopped) => return,
                // A machine of the contract may want one turn after another.
                Some(Outward::Spins(_)) => {}
                Some(other) => panic!("nobody asked for {other:?}"),
                None => panic!("the machines did not stop"),
            }
        }
    }
}

macro_rules! cases {
    ($($module:ident :: $case:ident),* $(,)?) => {
        $(#[test] fn $case() { (0..5).for_each(|seed| $module::$case(&Simulated(seed))); })*
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
}
