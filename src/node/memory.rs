//! The memory plan: one budget, split at start, printed, and kept by limits that refuse rather than grow.

/// Budget when `kataract.memory.bytes` says nothing, bytes.
pub const BUDGET_DEFAULT: u64 = 256 << 20;
/// Smallest budget a core can work with, bytes.
const CORE_BUDGET_MIN: u64 = 16 << 20;

/// What a partition takes while nothing is written to it, bytes: its log, its place in every core's picture and routes,
/// and in the controller's (measured: 7 KiB).
const PARTITION_BYTES: u64 = 8 << 10;

/// What one node may hold, and each of its cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    pub budget: u64,
    /// Frames arriving, and read and not yet answered, a core.
    pub bytes_in_flight: u64,
    /// Recently written data kept for readers, and what is read ahead of them, a core.
    pub tail_cache: u64,
    /// Part of `tail_cache` that may hold what the journal has and the segments do not have yet, a core.
    pub journal_lag: u64,
    /// Answers waiting for slow readers, a core.
    pub bytes_out: u64,
    /// What members of groups may make a core keep: their metadata and assignments.
    pub members: u64,
    /// Partitions of the node beyond which none are made.
    pub partitions: u64,
}

impl MemoryPlan {
    /// Splits `budget` over `cores`. The error says what the least is.
    pub fn split(budget: u64, cores: u16) -> Result<MemoryPlan, String> {
        let least = CORE_BUDGET_MIN * u64::from(cores);
        if budget < least {
            return Err(format!("kataract.memory.bytes={budget}: {cores} cores need at least {least}"));
        }
        let core = budget / u64::from(cores);
        Ok(MemoryPlan {
            budget,
            bytes_in_flight: core / 4,
            tail_cache: core * 7 / 16,
            journal_lag: core / 4,
            bytes_out: core / 16,
            members: core / 16,
            partitions: budget * 3 / 16 / PARTITION_BYTES,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_plan_fit_the_budget_and_too_little_is_refused() {
        let plan = MemoryPlan::split(BUDGET_DEFAULT, 2).unwrap();
        let of_cores = 2 * (plan.bytes_in_flight + plan.tail_cache + plan.bytes_out + plan.members);
        assert_eq!(of_cores + plan.partitions * PARTITION_BYTES, plan.budget);
        assert_eq!(plan.partitions, 6144, "as the setting's description says");
        assert!(MemoryPlan::split(1 << 20, 2).unwrap_err().contains("at least"));
    }
}
