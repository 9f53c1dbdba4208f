//! What the process may hold open, dealt to files and connections. A log keeps the file of its active segment open, so
//! descriptors also say how many partitions a node can have.

/// Files one core may hold open, unless the process may hold fewer.
const FILES_PER_CORE_MAX: u32 = 50_000;
/// What files do not take beyond their half: listeners, rings, event counters, cold operations need some.
const SPARE: u32 = 256;
/// Files a core needs besides those of its logs: its journal, segments that are being moved or read at a start.
const FILES_BESIDE_LOGS: u32 = 16;

/// How they are dealt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// Files that a core may have open.
    pub files_per_core: u32,
    /// Connections for which there is room.
    pub connections: u32,
    /// Partitions whose logs can all have a file, with an eighth of the files left for segments that are read.
    pub partitions: u64,
}

impl Descriptors {
    /// `total`: what the process may hold. Files get half, and more if `partitions` need it and `connections` leave it;
    /// each takes `per_file` descriptors.
    pub fn deal(total: u32, cores: u16, per_file: u32, connections: u32, partitions: u64) -> Descriptors {
        let cores = u32::from(cores.max(1));
        let room = total - SPARE.min(total / 8);
        let half = total / 2;
        let wanted = u32::try_from(partitions + partitions / 7).unwrap_or(u32::MAX);
        let wanted = wanted.saturating_add(cores * FILES_BESIDE_LOGS).saturating_mul(per_file);
        let for_files = half.max(wanted.min(room.saturating_sub(connections)));
        let files_per_core = (for_files / per_file / cores).min(FILES_PER_CORE_MAX);
        let for_logs = files_per_core.saturating_sub(FILES_BESIDE_LOGS);
        Descriptors {
            files_per_core,
            connections: total - files_per_core * cores * per_file,
            partitions: u64::from(for_logs - for_logs / 8) * u64::from(cores),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_get_half_or_what_the_partitions_need_and_partitions_get_no_more_than_there_are_files() {
        let plenty = Descriptors::deal(1 << 20, 2, 2, 2048, 6144);
        assert_eq!(plenty.files_per_core, FILES_PER_CORE_MAX);
        assert!(plenty.partitions > 6144 && plenty.connections > 2048);
        // Half is not enough for what the memory has room for, but the connections leave more.
        let twenty = Descriptors::deal(20_000, 1, 2, 2048, 6144);
        assert!(twenty.files_per_core > 5_000 && twenty.partitions >= 6144, "{twenty:?}");
        assert!(twenty.connections >= 2048 && twenty.files_per_core * 2 + twenty.connections <= 20_000);
        let few = Descriptors::deal(1024, 1, 2, 2048, 6144);
        assert_eq!((few.files_per_core, few.connections, few.partitions), (256, 512, 210));
        for total in [0, 1, 16, 64] {
            let hardly = Descriptors::deal(total, 2, 3, 2048, 6144);
            assert!(hardly.files_per_core * 6 <= total && hardly.partitions == 0, "{hardly:?}");
        }
    }
}
