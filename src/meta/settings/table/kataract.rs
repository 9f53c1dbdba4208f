//! Kataract's own broker settings.

use super::settings;

settings! { KATARACT, "Settings that only this broker knows.";
    "kataract.cores" Int "0" (Range(0, 128)) ReadOnly yes []
        "Cores the broker uses, one engine each; 0 means all but an eighth, which the kernel works on: 1 of 2, 7 of 8.";
    "kataract.driver" String "auto" (OneOf(&["auto", "uring", "posix", "glommio"])) ReadOnly yes []
        "How cores reach disk and network; auto takes io_uring where the system allows it.";
    "kataract.memory.bytes" Long "0" (Min(0)) ReadOnly yes []
        "Memory for buffers and caches of all cores together, bytes; 0 means a share of the machine's.";
    "kataract.partitions.max" Int "0" (Range(0, 200_000)) ReadOnly yes []
        "Partitions beyond which none are made; 0 means as many as the memory has room for, 6144 for 256 MiB.";
    "partition.cores" List "" PartitionCores PerBroker yes []
        "Partitions pinned to a core of this broker, a list of topic-partition:core; all others are dealt in turn.";
    "kataract.log.durability" String "stable" (OneOf(&["stable", "page-cache"])) ReadOnly yes []
        "Whether acknowledged records are on stable storage, or only in the page cache as with Kafka.";
    "kataract.journal.bytes" Long "67108864" (Min(0)) ReadOnly yes []
        "Journal of each core, bytes, made when something is first produced; below 131072 there is none.";
    "kataract.journal.partitions" Int "1" (Range(1, 100_000)) ReadOnly yes []
        "From this many partitions on a core's small appends of one turn go to its journal first.";
    "kataract.fetch.cache.min.bytes" Long "65536" (Min(1)) ReadOnly yes []
        "A reader in sequence that takes so many bytes of a partition at once gets them from the page cache, uncopied.";
    "kataract.fetch.cache.distance.bytes" Long "33554432" (Min(0)) ReadOnly yes []
        "What is nearer to the end of a segment that still grows is not read through the page cache, bytes.";
}
