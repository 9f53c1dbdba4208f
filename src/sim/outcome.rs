//! What a run is asked, and what comes of it.

use super::mutation::Mutation;
use super::swarm::Swarm;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    pub swarm: Swarm,
    /// Cut the power while this write (counted from 0) is in flight.
    pub cut_at_write: Option<u64>,
    pub keep_trace: bool,
}

impl Options {
    /// The general mode.
    pub fn of_seed(seed: u64) -> Options {
        Options { seed, swarm: Swarm::of_seed(seed), cut_at_write: None, keep_trace: false }
    }

    /// A small run, cut at one write or not at all.
    pub fn small(seed: u64, cut_at_write: Option<u64>) -> Options {
        Options { seed, swarm: Swarm::small(seed), cut_at_write, keep_trace: false }
    }

    /// A run on a disk that is full for a while.
    pub fn full(seed: u64) -> Options {
        Options { seed, swarm: Swarm::full(seed), cut_at_write: None, keep_trace: false }
    }

    /// Partitions move and nothing else happens.
    pub fn moving(seed: u64) -> Options {
        Options { seed, swarm: Swarm::moving(seed), cut_at_write: None, keep_trace: false }
    }

    /// The run of [`Options::with_mutation`] without the mistake: it must find nothing.
    pub fn control(seed: u64, mutation: Mutation) -> Options {
        let mut options = Options::with_mutation(seed, mutation);
        options.swarm.mutation = None;
        options.swarm.disk.mutation = None;
        options.swarm.net.mutation = None;
        options
    }

    /// A run with a mistake in it.
    pub fn with_mutation(seed: u64, mutation: Mutation) -> Options {
        Options { seed, swarm: Swarm::for_mutation(seed, mutation), cut_at_write: None, keep_trace: false }
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What should not have happened.
    pub finding: Option<String>,
    pub trace_hash: u64,
    pub events: u64,
    /// Operations that changed the disk.
    pub writes: u64,
    pub acked: u64,
    pub read: u64,
    /// Pieces of segments that were staged for readers.
    pub staged: u64,
    pub restarts: u32,
    pub flips: u32,
    /// Virtual milliseconds.
    pub lasted_ms: u64,
    pub trace: Vec<String>,
}

impl Outcome {
    /// A run that did not come to its end.
    pub fn broken(finding: String) -> Outcome {
        let (trace_hash, events, writes, acked, read, staged, restarts, flips, lasted_ms) = (0, 0, 0, 0, 0, 0, 0, 0, 0);
        let (finding, trace) = (Some(finding), Vec::new());
        Outcome { finding, trace_hash, events, writes, acked, read, staged, restarts, flips, lasted_ms, trace }
    }
}
