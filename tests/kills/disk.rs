//! A disk that fills up, and a folder that cannot be written.
//!
//! The full disk is a small ext4 image, which takes root to mount; without that the test is skipped. Half of the room
//! that there was is in a file of the test, so that it can make room again.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::ledger::Ledger;
use crate::node::{Driver, Node, skipped};
use crate::wire::Wire;
use crate::{create_topic, tell};

const DISK_BYTES: u64 = 192 << 20;
const BALLAST_BYTES: usize = 32 << 20;
/// KAFKA_STORAGE_ERROR.
const STORAGE_ERROR: i16 = 56;
/// How soon after there is room again writing must work.
const RESUME_LIMIT: Duration = Duration::from_secs(15);

#[test]
fn a_full_disk_loses_nothing_and_writing_goes_on_when_there_is_room_on_uring() {
    full_disk(Driver::Uring);
}

#[test]
fn a_full_disk_loses_nothing_and_writing_goes_on_when_there_is_room_on_posix() {
    full_disk(Driver::Posix);
}

/// A mounted ext4 image; unmounted when dropped.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    fn mount() -> Result<SmallDisk, String> {
        let folder = tempfile::Builder::new().prefix("kataract-disk-").tempdir().map_err(|error| error.to_string())?;
        let image = folder.path().join("image");
        File::create(&image).and_then(|file| file.set_len(DISK_BYTES)).map_err(|error| error.to_string())?;
        let disk = SmallDisk { folder };
        fs::create_dir(disk.path()).map_err(|error| error.to_string())?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(disk.path()))?;
        Ok(disk)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    fn ballast(&self, which: u8) -> PathBuf {
        self.path().join(format!("ballast-{which}"))
    }

    fn take_room(&self, which: u8) {
        let written = File::create(self.ballast(which)).and_then(|mut file| {
            file.write_all(&vec![7; BALLAST_BYTES])?;
            file.sync_all()
        });
        written.expect("room for the ballast");
    }

    fn make_room(&self, which: u8) {
        fs::remove_file(self.ballast(which)).expect("the ballast is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Never mounted, or gone already: nothing to undo.
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

fn full_disk(driver: Driver) {
    if !driver.is_possible() {
        return;
    }
    let disk = match SmallDisk::mount() {
        Ok(disk) => disk,
        Err(why) => return skipped(&format!("no small disk can be mounted here: {why}")),
    };
    disk.take_room(1);
    disk.take_room(2);
    let settings = ["offsets.topic.num.partitions=4"];
    let mut node = Node::new(driver, &settings).with_data(&disk.path().join("data"));
    node.start();
    create_topic(&node.address, "fill", 2, &[("segment.bytes", "16777216")]);
    let mut ledger = Ledger::new("fill", 2, 20_000);
    fill(&mut ledger, &node);
    assert!(ledger.len() > 100, "only {} batches fitted", ledger.len());
    verify(&ledger, &node);
    disk.make_room(1);
    resume(&mut ledger, &node);
    verify(&ledger, &node);

    // Again, with a kill while it is full: the start finds no room and must serve what is there.
    fill(&mut ledger, &node);
    node.kill();
    node.start();
    node.until(|node| Wire::connect(&node.address)?.serves(&[("fill", 2)]));
    verify(&ledger, &node);
    disk.make_room(2);
    resume(&mut ledger, &node);
    let stopped = node.stop();
    tell(&format!("full disk on {driver:?}: {} batches acknowledged, stopped in {stopped:?}", ledger.len()));
    node.start();
    node.until(|node| Wire::connect(&node.address)?.serves(&[("fill", 2)]));
    verify(&ledger, &node);
}

fn verify(ledger: &Ledger, node: &Node) {
    check(Wire::connect(&node.address).and_then(|mut wire| ledger.verify(&mut wire)), node);
}

/// Produces until the node says that there is no room.
fn fill(ledger: &mut Ledger, node: &Node) {
    let mut wire = Wire::connect(&node.address).expect("a connection");
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        assert!(Instant::now() < deadline, "the disk does not fill\n{}", node.log_tail());
        match check(ledger.produce(&mut wire), node) {
            0 => {}
            STORAGE_ERROR => return,
            // REQUEST_TIMED_OUT: the batch met the end of the disk itself; the next one hears why.
            7 => {}
            code => panic!("error code {code} from a full disk\n{}", node.log_tail()),
        }
    }
}

fn resume(ledger: &mut Ledger, node: &Node) {
    let mut wire = Wire::connect(&node.address).expect("a connection");
    let begun = Instant::now();
    while check(ledger.produce(&mut wire), node) != 0 {
        assert!(begun.elapsed() < RESUME_LIMIT, "writing does not resume\n{}", node.log_tail());
        thread::sleep(Duration::from_millis(100));
    }
}

fn check<T>(result: Result<T, String>, node: &Node) -> T {
    result.unwrap_or_else(|why| panic!("{why}\n{}", node.log_tail()))
}
