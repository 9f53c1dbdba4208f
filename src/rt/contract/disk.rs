//! Disk cases. A script is a list of rounds: the operations of a round are in flight together, the next round starts
//! when all of them are answered.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::{Acting, CASE_MS_MAX, Rig};
use crate::base::chunk::Chunk;
use crate::base::limits::BLOCK;
use crate::base::prng::Prng;
use crate::base::time::{Mono, Now};
use crate::port::disk::{DirEntry, DiskErrorKind, DiskOp, DiskOutput, DiskResult, FileId, OpenMode};
use crate::port::turn::{Effects, Inputs, Machine, NextWake, Token};

type Check = Box<dyn FnOnce(DiskResult)>;
type Round = Vec<(DiskOp, Check)>;

pub const DIRECT: OpenMode = OpenMode { direct: true, create: true };
const BUFFERED: OpenMode = OpenMode { direct: false, create: true };
const SPAN: u64 = BLOCK as u64;

/// A machine that plays a script and stops.
fn player(rounds: Vec<Round>) -> impl Machine<Message = u64> {
    let mut rounds = VecDeque::from(rounds);
    let mut waiting: BTreeMap<Token, Check> = BTreeMap::new();
    let mut next = 0;
    let mut deadline: Option<Mono> = None;
    Acting(move |now: Now, inputs: Inputs<u64>, effects: &mut Effects<u64>| {
        let deadline = *deadline.get_or_insert(now.mono.plus_ms(CASE_MS_MAX));
        assert!(now.mono < deadline, "{} operations were never answered", waiting.len());
        for (token, result) in inputs.disk {
            let check = waiting.remove(&token).unwrap_or_else(|| panic!("{token:?} answered twice: {result:?}"));
            check(result);
        }
        if waiting.is_empty() {
            let Some(round) = rounds.pop_front() else {
                effects.stopped = true;
                return NextWake::Never;
            };
            for (op, check) in round {
                next += 1;
                waiting.insert(Token(next), check);
                effects.disk.push((Token(next), op));
            }
        }
        NextWake::At(deadline)
    })
}

fn play(rig: &impl Rig, script: impl Fn() -> Vec<Round> + Send + Sync + Clone + 'static) {
    rig.run(1, None, move |_| player(script()));
}

fn expect(name: &'static str, expected: DiskOutput) -> Check {
    Box::new(move |result| match result {
        Ok(output) => assert!(output == expected, "{name}: expected {}, got {}", brief(&expected), brief(&output)),
        Err(error) => panic!("{name}: {error:?}"),
    })
}

/// Data can be megabytes: errors name its length only.
fn brief(output: &DiskOutput) -> String {
    match output {
        DiskOutput::Data(data) => format!("{} bytes that begin with {:?}", data.len(), &data[..data.len().min(16)]),
        other => format!("{other:?}"),
    }
}

fn done(name: &'static str) -> Check {
    expect(name, DiskOutput::Done)
}

fn data(name: &'static str, bytes: Bytes) -> Check {
    expect(name, DiskOutput::Data(bytes))
}

fn opened(len: u64) -> Check {
    expect("open", DiskOutput::Opened { len })
}

fn fails(name: &'static str, kind: DiskErrorKind) -> Check {
    Box::new(move |result| match result {
        Ok(output) => panic!("{name}: expected {kind:?}, got {}", brief(&output)),
        Err(error) => {
            assert_eq!(error.kind, kind, "{name}: {error:?}");
            assert!(!error.detail.is_empty(), "{name}: an error without detail");
        }
    })
}

fn open(file: u32, path: &str, mode: OpenMode) -> DiskOp {
    DiskOp::Open { file: FileId(file), path: path.to_owned(), mode }
}

fn write(file: u32, position: u64, data: &Bytes, sync: bool) -> DiskOp {
    DiskOp::Write { file: FileId(file), position, data: data.clone(), sync }
}

fn read(file: u32, position: u64, len: u64) -> DiskOp {
    DiskOp::Read { file: FileId(file), position, len: len as u32 }
}

/// Aligned bytes that differ from block to block and from seed to seed.
pub fn pattern(seed: u64, blocks: u64) -> Bytes {
    let mut random = Prng::new(seed);
    let mut chunk = Chunk::with_capacity((blocks * SPAN) as usize);
    while chunk.room() > 0 {
        chunk.fill(&random.bytes16());
    }
    chunk.freeze()
}

fn zeros(len: u64) -> Bytes {
    Bytes::from(vec![0; len as usize])
}

/// What is written is read back, synced or not; reads end at the end of the file; the length survives closing.
pub fn written_blocks_are_read_back(rig: &impl Rig) {
    play(rig, || {
        let (first, second) = (pattern(1, 3), pattern(2, 1));
        let all = Bytes::from([&first[..], &second[..]].concat());
        vec![
            vec![(open(7, "a.log", DIRECT), opened(0))],
            vec![(write(7, 0, &first, true), done("write")), (write(7, 3 * SPAN, &second, false), done("write"))],
            vec![(DiskOp::Sync { file: FileId(7) }, done("sync"))],
            vec![
                (read(7, 0, 4 * SPAN), data("whole", all.clone())),
                (read(7, 2 * SPAN, SPAN), data("one block", first.slice(2 * BLOCK..))),
                (read(7, 3 * SPAN, 8 * SPAN), data("across the end", second.clone())),
                (read(7, 4 * SPAN, SPAN), data("at the end", Bytes::new())),
                (read(7, 64 * SPAN, SPAN), data("behind the end", Bytes::new())),
                (read(7, 0, 0), data("nothing", Bytes::new())),
                (write(7, 0, &Bytes::new(), true), done("write of nothing")),
            ],
            vec![(write(7, SPAN, &second, true), done("overwrite"))],
            vec![(read(7, SPAN, SPAN), data("overwritten", second))],
            vec![(DiskOp::Close { file: FileId(7) }, done("close"))],
            vec![(open(7, "a.log", OpenMode { direct: true, create: false }), opened(4 * SPAN))],
            vec![(read(7, 0, SPAN), data("after reopening", all.slice(..BLOCK)))],
        ]
    });
}

fn staged(name: &'static str, len: usize, expected: Bytes) -> Check {
    Box::new(move |result| match result {
        Ok(DiskOutput::Staged { range, tail }) => {
            assert_eq!((range.len(), tail == expected), (len, true), "{name}: {}", brief(&DiskOutput::Data(tail)));
        }
        other => panic!("{name}: {other:?}"),
    })
}

/// Any part of a file may be staged, and its last bytes come with it; what is not there is an error.
pub fn parts_of_files_are_staged(rig: &impl Rig) {
    let stage = |file, position, len, look| DiskOp::Stage { file: FileId(file), position, len, look, fill: true };
    play(rig, move || {
        let blocks = pattern(21, 300);
        let end = 300 * SPAN;
        vec![
            vec![(open(4, "s.log", DIRECT), opened(0)), (open(5, "s.txt", BUFFERED), opened(0))],
            vec![(write(4, 0, &blocks, true), done("write")), (write(5, 0, &blocks, false), done("write"))],
            vec![
                (stage(4, 0, end as u32, 9), staged("whole", end as usize, blocks.slice(end as usize - 9..))),
                (stage(4, 5, 10_000, 10_000), staged("all to be seen", 10_000, blocks.slice(5..10_005))),
                (stage(4, end - 3, 3, 0), staged("nothing to be seen", 3, Bytes::new())),
                (stage(5, 1, 70_000, 1), staged("buffered", 70_000, blocks.slice(70_000..70_001))),
                (stage(4, end - 3, 4, 0), fails("beyond the end", DiskErrorKind::Io)),
                (stage(4, 0, 4, 5), fails("a look at more than all", DiskErrorKind::Invalid)),
                (stage(4, u64::MAX - 2, 4, 0), fails("beyond all files", DiskErrorKind::Invalid)),
                (stage(6, 0, 4, 0), fails("not open", DiskErrorKind::Invalid)),
            ],
            // What was written since is seen: the page cache follows.
            vec![(write(4, SPAN, &pattern(22, 1), true), done("overwrite"))],
            vec![(stage(4, SPAN, SPAN as u32, SPAN as u32), staged("overwritten", BLOCK, pattern(22, 1)))],
        ]
    });
}

/// A direct file wants aligned positions, lengths and memory, and says so; a buffered one takes anything.
pub fn alignment_is_asked_of_direct_files_only(rig: &impl Rig) {
    play(rig, || {
        let block = pattern(3, 2);
        let crooked = block.slice(8..8 + BLOCK);
        let text = Bytes::from_static(b"some text");
        vec![
            vec![(open(0, "direct", DIRECT), opened(0)), (open(1, "buffered", BUFFERED), opened(0))],
            vec![
                (write(0, 1, &block, false), fails("position", DiskErrorKind::Invalid)),
                (write(0, 0, &block.slice(..100), false), fails("length", DiskErrorKind::Invalid)),
                (write(0, 0, &crooked, false), fails("memory", DiskErrorKind::Invalid)),
                (read(0, 512, SPAN), fails("read position", DiskErrorKind::Invalid)),
                (read(0, 0, 100), fails("read length", DiskErrorKind::Invalid)),
                (DiskOp::ZeroFill { file: FileId(0), from: 0, to: 100 }, fails("zero fill", DiskErrorKind::Invalid)),
                (
                    DiskOp::ZeroFill { file: FileId(0), from: SPAN, to: 0 },
                    fails("end before start", DiskErrorKind::Invalid),
                ),
                (write(1, 3, &text, true), done("buffered write")),
            ],
            vec![
                (read(1, 4, 5), data("buffered read", text.slice(1..6))),
                (read(1, 0, 100), data("buffered read across the end", Bytes::from_static(b"\0\0\0some text"))),
                (read(0, 0, SPAN), data("nothing was written", Bytes::new())),
            ],
        ]
    });
}

/// A zero fill leaves real zeros, extends the file, and what is written before and after it stays.
pub fn zero_fill_extends_with_zeros_and_touches_nothing_else(rig: &impl Rig) {
    play(rig, || {
        let block = pattern(4, 1);
        let len = 3 << 20;
        vec![
            vec![(open(2, "z.log", DIRECT), opened(0))],
            vec![(write(2, 0, &block, true), done("write"))],
            vec![(DiskOp::ZeroFill { file: FileId(2), from: SPAN, to: len + SPAN }, done("zero fill"))],
            vec![
                (read(2, 0, SPAN), data("before", block.clone())),
                (read(2, SPAN, len), data("zeros", zeros(len))),
                (read(2, len + SPAN, SPAN), data("end", Bytes::new())),
                (DiskOp::ZeroFill { file: FileId(2), from: SPAN, to: SPAN }, done("nothing to fill")),
            ],
            vec![(write(2, 5 * SPAN, &block, true), done("write inside"))],
            vec![(DiskOp::ZeroFill { file: FileId(2), from: 6 * SPAN, to: 7 * SPAN }, done("inside"))],
            vec![
                (read(2, 4 * SPAN, SPAN), data("zeros before", zeros(SPAN))),
                (read(2, 5 * SPAN, SPAN), data("written", block.clone())),
                (read(2, 6 * SPAN, SPAN), data("zeros after", zeros(SPAN))),
            ],
            vec![(DiskOp::ZeroFill { file: FileId(2), from: 5 * SPAN, to: 6 * SPAN }, done("over data"))],
            vec![(read(2, 5 * SPAN, SPAN), data("zeros over data", zeros(SPAN)))],
        ]
    });
}

/// Room that is reserved reads as zeros, extends the file, and leaves what is written before it, in it and after it.
pub fn reserving_extends_with_zeros_and_touches_nothing(rig: &impl Rig) {
    play(rig, || {
        let block = pattern(6, 1);
        let len = 3 << 20;
        let reserve = |from, to| DiskOp::Reserve { file: FileId(2), from, to };
        vec![
            vec![(open(2, "r.log", DIRECT), opened(0))],
            vec![(write(2, 0, &block, true), done("write"))],
            vec![
                (reserve(SPAN, 100), fails("reserve", DiskErrorKind::Invalid)),
                (reserve(SPAN, 0), fails("end before start", DiskErrorKind::Invalid)),
                (reserve(SPAN, SPAN), done("nothing to reserve")),
                (reserve(SPAN, len + SPAN), done("reserve")),
            ],
            vec![
                (read(2, 0, SPAN), data("before", block.clone())),
                (read(2, SPAN, len), data("zeros", zeros(len))),
                (read(2, len + SPAN, SPAN), data("end", Bytes::new())),
            ],
            vec![(write(2, 5 * SPAN, &block, true), done("write inside"))],
            vec![(reserve(4 * SPAN, 8 * SPAN), done("over data"))],
            vec![
                (read(2, 4 * SPAN, SPAN), data("zeros before", zeros(SPAN))),
                (read(2, 5 * SPAN, SPAN), data("written", block.clone())),
                (read(2, 6 * SPAN, SPAN), data("zeros after", zeros(SPAN))),
                (write(2, len + SPAN, &block, true), done("write behind")),
            ],
            vec![(read(2, len + SPAN, SPAN), data("written behind", block.clone()))],
        ]
    });
}

/// SetLen cuts and extends; what was cut does not come back.
pub fn set_len_cuts_and_extends(rig: &impl Rig) {
    play(rig, || {
        let blocks = pattern(5, 4);
        let set_len = |len| DiskOp::SetLen { file: FileId(0), len };
        vec![
            vec![(open(0, "c.log", DIRECT), opened(0))],
            vec![(write(0, 0, &blocks, true), done("write"))],
            vec![(set_len(SPAN), done("cut"))],
            vec![(read(0, 0, 4 * SPAN), data("cut", blocks.slice(..BLOCK)))],
            vec![(set_len(3 * SPAN), done("extend"))],
            vec![(read(0, 0, 4 * SPAN), data("extended", [&blocks[..BLOCK], &zeros(2 * SPAN)].concat().into()))],
            vec![(set_len(u64::MAX), fails("absurd length", DiskErrorKind::Invalid))],
            vec![(DiskOp::Close { file: FileId(0) }, done("close"))],
            vec![(open(0, "c.log", DIRECT), opened(3 * SPAN))],
        ]
    });
}

fn write_file(path: &str, text: &'static str) -> DiskOp {
    DiskOp::WriteFile { path: path.to_owned(), data: Bytes::from_static(text.as_bytes()) }
}

fn read_file(path: &str, len_max: u64) -> DiskOp {
    DiskOp::ReadFile { path: path.to_owned(), len_max }
}

fn list(path: &str) -> DiskOp {
    DiskOp::List { path: path.to_owned() }
}

fn file_entry(name: &str, len: u64) -> DirEntry {
    DirEntry { name: name.to_owned(), is_dir: false, len }
}

fn dir_entry(name: &str) -> DirEntry {
    DirEntry { name: name.to_owned(), is_dir: true, len: 0 }
}

/// A small file is replaced whole, read within its limit, and leaves no temporary file behind.
pub fn small_files_are_replaced_whole(rig: &impl Rig) {
    play(rig, || {
        vec![
            vec![(write_file("checkpoint", "the first and longer content"), done("write"))],
            vec![(write_file("checkpoint", "second"), done("replace")), (write_file("empty", ""), done("empty"))],
            vec![
                (read_file("checkpoint", 6), data("read", Bytes::from_static(b"second"))),
                (read_file("checkpoint", 5), fails("limit", DiskErrorKind::TooLarge)),
                (read_file("empty", 0), data("empty", Bytes::new())),
                (list(""), {
                    let entries = vec![file_entry("checkpoint", 6), file_entry("empty", 0)];
                    expect("list", DiskOutput::Entries(entries))
                }),
            ],
        ]
    });
}

/// Folders: made with their parents, listed in order of names, renamed, removed with all they hold.
pub fn folders_are_made_listed_renamed_and_removed(rig: &impl Rig) {
    play(rig, || {
        let make = |path: &str| DiskOp::MakeDir { path: path.to_owned() };
        let rename = |from: &str, to: &str| DiskOp::Rename { from: from.to_owned(), to: to.to_owned() };
        let remove = |path: &str| DiskOp::Remove { path: path.to_owned() };
        let remove_dir = |path: &str| DiskOp::RemoveDir { path: path.to_owned() };
        let entries = |list: Vec<DirEntry>| expect("list", DiskOutput::Entries(list));
        vec![
            vec![(make("t-0/deep/er"), done("make")), (make("t-1"), done("make"))],
            vec![(make("t-0"), done("make again"))],
            vec![
                (write_file("t-0/b", "bb"), done("write")),
                (write_file("t-0/a", "a"), done("write")),
                (write_file("t-0/c", "ccc"), done("write")),
            ],
            vec![
                (
                    list("t-0"),
                    entries(vec![file_entry("a", 1), file_entry("b", 2), file_entry("c", 3), dir_entry("deep")]),
                ),
                (list(""), entries(vec![dir_entry("t-0"), dir_entry("t-1")])),
            ],
            vec![(rename("t-0/c", "t-0/a"), done("rename over")), (remove("t-0/b"), done("remove"))],
            vec![(remove("t-0/b"), done("remove again")), (rename("t-0", "t-2"), done("rename folder"))],
            vec![
                (list("t-2"), entries(vec![file_entry("a", 3), dir_entry("deep")])),
                (read_file("t-2/a", 10), data("renamed", Bytes::from_static(b"ccc"))),
            ],
            vec![(remove_dir("t-2"), done("remove folder"))],
            vec![
                (remove_dir("t-2"), done("remove folder again")),
                (list("t-2"), fails("gone", DiskErrorKind::NotFound)),
            ],
            vec![(list(""), entries(vec![dir_entry("t-1")])), (list("t-1"), entries(vec![]))],
        ]
    });
}

/// What is not there is NotFound, unless the operation makes or removes it.
pub fn missing_files_are_not_found(rig: &impl Rig) {
    play(rig, || {
        let missing = || fails("missing", DiskErrorKind::NotFound);
        vec![
            vec![
                (open(0, "missing", OpenMode { direct: true, create: false }), missing()),
                (open(1, "no/such/folder", DIRECT), missing()),
                (read_file("missing", 10), missing()),
                (list("missing"), missing()),
                (DiskOp::Rename { from: "missing".to_owned(), to: "other".to_owned() }, missing()),
                (write_file("no/such", "x"), missing()),
            ],
            // A failed open leaves the number free.
            vec![(open(0, "there", DIRECT), opened(0))],
        ]
    });
}

/// Paths that would leave the data folder, and their like, are refused by every operation that takes one.
pub fn bad_paths_are_refused(rig: &impl Rig) {
    play(rig, || {
        let mut round: Round = Vec::new();
        for (number, path) in (0..).zip(["..", "../x", "a/../b", "/etc/hostname", "a//b", "a/", "./a"]) {
            let own = || path.to_owned();
            let ops = [
                open(number, path, DIRECT),
                read_file(path, 10),
                write_file(path, "x"),
                list(path),
                DiskOp::MakeDir { path: own() },
                DiskOp::Rename { from: own(), to: "fine".to_owned() },
                DiskOp::Rename { from: "fine".to_owned(), to: own() },
                DiskOp::Remove { path: own() },
                DiskOp::RemoveDir { path: own() },
            ];
            for op in ops {
                round.push((op, fails("bad path", DiskErrorKind::Invalid)));
            }
        }
        round.push((DiskOp::MakeDir { path: String::new() }, fails("no path", DiskErrorKind::Invalid)));
        round.push((DiskOp::RemoveDir { path: String::new() }, fails("no path", DiskErrorKind::Invalid)));
        vec![round, vec![(list(""), expect("list", DiskOutput::Entries(vec![])))]]
    });
}

/// A number is free again when its close is answered, and means nothing in between.
pub fn file_numbers_are_reused_after_close(rig: &impl Rig) {
    play(rig, || {
        let block = pattern(6, 1);
        let close = || DiskOp::Close { file: FileId(3) };
        let invalid = |name| fails(name, DiskErrorKind::Invalid);
        vec![
            vec![(read(3, 0, SPAN), invalid("read before open")), (close(), invalid("close before open"))],
            vec![(open(3, "one", DIRECT), opened(0))],
            vec![(write(3, 0, &block, true), done("write")), (open(3, "two", DIRECT), invalid("number in use"))],
            vec![(close(), done("close"))],
            vec![
                (write(3, 0, &block, true), invalid("write after close")),
                (DiskOp::Sync { file: FileId(3) }, invalid("sync after close")),
                (DiskOp::SetLen { file: FileId(3), len: 0 }, invalid("set length after close")),
            ],
            vec![(open(3, "two", DIRECT), opened(0))],
            vec![(read(3, 0, SPAN), data("another file", Bytes::new())), (open(9000, "one", DIRECT), opened(SPAN))],
            vec![(read(9000, 0, SPAN), data("a large number", block))],
            vec![(DiskOp::RemoveDir { path: "one".to_owned() }, fails("not a folder", DiskErrorKind::Io))],
        ]
    });
}

/// Hundreds of operations in flight together on several files each do what they should.
pub fn many_operations_at_once(rig: &impl Rig) {
    const FILES: u32 = 8;
    const WRITES: u64 = 64;
    play(rig, || {
        let blocks = |file: u32, number: u64| pattern(u64::from(file) << 32 | number, 1 + number % 4);
        let all = || (0..FILES).flat_map(|file| (0..WRITES).map(move |number| (file, number)));
        let opens = (0..FILES).map(|file| (open(file, &format!("many-{file}"), DIRECT), opened(0)));
        let place = |number: u64| number * 4 * SPAN;
        let writes = all().map(|(file, number)| {
            let sync = number % 7 == 0;
            (write(file, place(number), &blocks(file, number), sync), done("write"))
        });
        let reads = all().map(|(file, number)| {
            let expected = blocks(file, number);
            (read(file, place(number), expected.len() as u64), data("read", expected))
        });
        let mut syncs: Round = (0..FILES).map(|file| (DiskOp::Sync { file: FileId(file) }, done("sync"))).collect();
        let large = pattern(99, 2048);
        syncs.push((open(FILES, "large", DIRECT), opened(0)));
        let mut last: Round = vec![(write(FILES, 0, &large, true), done("8 MiB"))];
        last.extend(reads);
        let whole: Round = vec![(read(FILES, 0, large.len() as u64), data("8 MiB", large.clone()))];
        vec![opens.collect(), writes.collect(), syncs, last, whole]
    });
}
