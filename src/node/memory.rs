//! The memory plan: one budget, split at start, printed, and kept by limits that refuse rather than grow.

/// Budget when `kataract.memory.bytes` says nothing, bytes.
pub const BUDGET_DEFAULT: u64 = 256 << 20;
/// Smallest budget a core can work with, bytes.
const CORE_BUDGET_MIN: u64 = 16 << 20;

/// What a partition takes while nothing is written to it, bytes: its log, its place in every core's picture and routes,
/// and in the controller's (measured: 7 KiB).
const PARTITION_BYTES: u64 = 8 << 10;

/// What a connection takes while it waits for a request: its receive buffer, bytes.
const CONNECTION_BYTES: u64 = crate::wire::frame::IDLE_READ_BYTES as u64;

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
    /// What fetch sessions may make a core keep: the partitions that clients have named.
    pub fetch_sessions: u64,
    /// Connections of the node beyond which new ones are closed, unless `max.connections` says otherwise.
    pub connections: u64,
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
            tail_cache: core * 11 / 32,
            journal_lag: core / 4,
            bytes_out: core / 16,
            members: core / 16,
            fetch_sessions: core / 32,
            connections: budget / 16 / CONNECTION_BYTES,
            partitions: budget * 3 / 16 / PARTITION_BYTES,
        })
    }
}

impl MemoryPlan {
    /// What the planned connections take while they wait, bytes.
    pub fn connection_bytes(&self) -> u64 {
        self.connections * CONNECTION_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_plan_fit_the_budget_and_too_little_is_refused() {
        let plan = MemoryPlan::split(BUDGET_DEFAULT, 2).unwrap();
        let waiting = plan.bytes_out + plan.members + plan.fetch_sessions;
        let of_cores = 2 * (plan.bytes_in_flight + plan.tail_cache + waiting);
        let of_node = plan.partitions * PARTITION_BYTES + plan.connections * CONNECTION_BYTES;
        assert_eq!(of_cores + of_node, plan.budget);
        assert_eq!(plan.connections, 2048, "as the setting's description says");
        assert!(plan.journal_lag < plan.tail_cache);
        assert_eq!(plan.partitions, 6144, "as the setting's description says");
        assert!(MemoryPlan::split(1 << 20, 2).unwrap_err().contains("at least"));
    }
}
