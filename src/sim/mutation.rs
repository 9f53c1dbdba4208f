//! The mistakes that the simulator must catch, made by the world instead of the engine: no switch in what ships.

/// One deliberate mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Acknowledge before sync: the disk answers writes and syncs as durable that are not.
    AckBeforeSync,
    /// Skip the CRC at recovery: bytes are flipped and the CRC is made to fit, so that recovery accepts them.
    SkipCrc,
    /// Forget the producer snapshot: snapshot files are gone after a restart.
    ForgetSnapshots,
    /// Answer out of order: two answers on a connection change places.
    SwapAnswers,
    /// Answer before the journal's sync: what the disk calls durable of a journal is not.
    JournalBeforeSync,
    /// Reuse a journal block before its segments are synced: the oldest entry that is still needed is gone.
    JournalReuse,
    /// Skip the journal at recovery: there is none after a power cut.
    JournalSkipped,
}

impl Mutation {
    pub const ALL: [Mutation; 7] = [
        Mutation::AckBeforeSync,
        Mutation::SkipCrc,
        Mutation::ForgetSnapshots,
        Mutation::SwapAnswers,
        Mutation::JournalBeforeSync,
        Mutation::JournalReuse,
        Mutation::JournalSkipped,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Mutation::AckBeforeSync => "ack-before-sync",
            Mutation::SkipCrc => "skip-crc",
            Mutation::ForgetSnapshots => "forget-snapshots",
            Mutation::SwapAnswers => "swap-answers",
            Mutation::JournalBeforeSync => "journal-before-sync",
            Mutation::JournalReuse => "journal-reuse",
            Mutation::JournalSkipped => "journal-skipped",
        }
    }

    /// The mutation of that name.
    pub fn parse(name: &str) -> Option<Mutation> {
        Mutation::ALL.into_iter().find(|mutation| mutation.name() == name)
    }
}
