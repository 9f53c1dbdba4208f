//! One journal a core: a turn that touches many logs is made durable by one write and one sync.
//!
//! `JOURNAL.md` beside the log's format page has the bytes and the invariants. Here are the decisions, without a system
//! call: [`codec`] (the bytes), [`ring`] (where the next entry goes, when its space is free again), [`replay`] (what a
//! start makes of a journal that a crash left). The shard hosts them (`shard/journal_host.rs`,
//! `shard/journal_start.rs`).

pub mod codec;
pub mod replay;
pub mod ring;

/// The file of a core, in the data folder.
pub fn file_name(core: u16) -> String {
    format!("kataract-journal-{core}.log")
}

/// The core whose journal a file in the data folder is; `None` for every other file.
pub fn core_of(name: &str) -> Option<u16> {
    let digits = name.strip_prefix("kataract-journal-")?.strip_suffix(".log")?;
    digits.parse().ok().filter(|core| file_name(*core) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_were_given_are_taken_back() {
        assert_eq!(core_of(&file_name(7)), Some(7));
        for name in ["kataract-journal-07.log", "kataract-journal-.log", "kataract-journal-1.log.tmp", "t-0"] {
            assert_eq!(core_of(name), None, "{name}");
        }
    }
}
