//! The states a data folder can be found in, and that only ours are ever written to.

use super::*;

const NODE: NodeId = NodeId(1);

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_missing_folder_is_made_formatted_and_known_again() {
    let parent = temporary();
    let path = parent.path().join("a/b");
    let first = DataDir::open(&path, NODE).unwrap();
    assert!(first.is_new());
    assert_eq!(Uuid::parse(&first.identity().cluster_id).map(|id| id == Uuid::ZERO), Some(false));
    let identity = first.identity().clone();
    drop(first);
    let again = DataDir::open(&path, NODE).unwrap();
    assert!(!again.is_new());
    assert_eq!(*again.identity(), identity);
    assert_eq!(names(&path), [".lock", "meta.properties"]);
}

#[test]
fn a_folder_that_kafka_formatted_is_taken_over() {
    let folder = temporary();
    let text = "#\n#Sat Nov 21 05:41:21 UTC 2026\nnode.id=1\ndirectory.id=P-aNQE5zXrqL7zfaw5CZnw\nversion=1\n\
                cluster.id=D6DHC-9FRsmEOGhUi56h5w\n";
    fs::write(folder.path().join("meta.properties"), text).unwrap();
    fs::create_dir(folder.path().join("t-0")).unwrap();
    let opened = DataDir::open(folder.path(), NODE).unwrap();
    assert_eq!(opened.identity().cluster_id, "D6DHC-9FRsmEOGhUi56h5w");
    assert_eq!(opened.identity().directory_id.to_string(), "P-aNQE5zXrqL7zfaw5CZnw");
    assert_eq!(fs::read_to_string(folder.path().join("meta.properties")).unwrap(), text, "not rewritten");
}

#[test]
fn a_folder_from_before_directory_ids_gets_one_that_stays() {
    let folder = temporary();
    fs::write(folder.path().join("meta.properties"), "version=1\ncluster.id=old cluster\nnode.id=1\n").unwrap();
    let id = DataDir::open(folder.path(), NODE).unwrap().identity().directory_id;
    assert_ne!(id, Uuid::ZERO);
    let again = DataDir::open(folder.path(), NODE).unwrap();
    assert_eq!((again.identity().directory_id, again.identity().cluster_id.as_str()), (id, "old cluster"));
}

#[test]
fn a_folder_with_something_else_in_it_is_left_alone() {
    let folder = temporary();
    fs::write(folder.path().join("holiday.jpg"), "x").unwrap();
    let error = DataDir::open(folder.path(), NODE).unwrap_err();
    assert!(error.to_string().contains("holiday.jpg"), "{error}");
    assert_eq!(names(folder.path()), ["holiday.jpg"], "not even a lock");
    let file = folder.path().join("holiday.jpg");
    assert_eq!(DataDir::open(&file, NODE).unwrap_err(), DataDirError::NotAFolder(file));
}

#[test]
fn a_fresh_file_system_and_a_format_that_was_cut_short_count_as_empty() {
    let folder = temporary();
    fs::create_dir(folder.path().join("lost+found")).unwrap();
    fs::write(folder.path().join("meta.properties.tmp"), "vers").unwrap();
    assert!(DataDir::open(folder.path(), NODE).unwrap().is_new());
}

#[test]
fn another_nodes_folder_and_an_unknown_version_are_refused() {
    let folder = temporary();
    let meta = folder.path().join("meta.properties");
    DataDir::format(folder.path(), NodeId(7), None).unwrap();
    let error = DataDir::open(folder.path(), NODE).unwrap_err();
    assert!(matches!(error, DataDirError::OtherNode { found: NodeId(7), configured: NODE, .. }), "{error}");
    for (text, word) in [
        ("version=2\ncluster.id=c\nnode.id=1\n", "version=2"),
        ("version=1\nnode.id=1\n", "cluster.id"),
        ("version=1\ncluster.id=c\nnode.id=-1\n", "node.id=-1"),
        ("version=1\ncluster.id=c\nnode.id=one\n", "node.id=one"),
        ("version=1\ncluster.id=c\nnode.id=1\ndirectory.id=short\n", "directory.id=short"),
        ("version=\\uZZZZ", "meta.properties"),
        ("", "version"),
    ] {
        fs::write(&meta, text).unwrap();
        let error = DataDir::open(folder.path(), NODE).unwrap_err();
        assert!(matches!(error, DataDirError::BadMeta { .. }) && error.to_string().contains(word), "{error}");
        assert_eq!(fs::read_to_string(&meta).unwrap(), text, "nothing was changed");
    }
    fs::write(&meta, vec![b'#'; SMALL_FILE_BYTES_MAX as usize + 1]).unwrap();
    assert!(matches!(DataDir::open(folder.path(), NODE), Err(DataDirError::Io { .. })));
}

#[test]
fn a_format_names_the_cluster_and_is_done_once() {
    let folder = temporary();
    let identity = DataDir::format(folder.path(), NODE, Some("D6DHC-9FRsmEOGhUi56h5w")).unwrap();
    assert_eq!(identity.cluster_id, "D6DHC-9FRsmEOGhUi56h5w");
    let before = fs::read(folder.path().join("meta.properties")).unwrap();
    let error = DataDir::format(folder.path(), NODE, None).unwrap_err();
    assert!(matches!(error, DataDirError::AlreadyFormatted { .. }), "{error}");
    assert_eq!(fs::read(folder.path().join("meta.properties")).unwrap(), before);
    assert!(!DataDir::open(folder.path(), NODE).unwrap().is_new());
}

#[test]
fn a_second_opening_in_this_process_is_refused_and_costs_the_first_nothing() {
    let folder = temporary();
    let first = DataDir::open(folder.path(), NODE).unwrap();
    let in_use = DataDirError::InUse { path: folder.path().to_owned(), pid: Some(std::process::id()) };
    assert_eq!(DataDir::open(folder.path(), NODE).unwrap_err(), in_use);
    assert_eq!(DataDir::format(folder.path(), NODE, None).unwrap_err(), in_use);
    assert_eq!(locked_by_another_process(folder.path()), format!("held by {}", std::process::id()));
    drop(first);
    assert_eq!(locked_by_another_process(folder.path()), "free");
}

const CHILD_FOLDER: &str = "KATARACT_TEST_LOCK_FOLDER";

/// Runs this very test program again with only [`child_reports_the_lock`] in it.
fn locked_by_another_process(folder: &Path) -> String {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "node::data_dir::tests::child_reports_the_lock", "--nocapture"])
        .env(CHILD_FOLDER, folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned();
    let line = said.lines().find_map(|line| line.split_once("LOCK: ")).expect("the child's word");
    line.1.to_owned()
}

#[test]
fn child_reports_the_lock() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER) else { return };
    match DataDir::open(Path::new(&folder), NODE) {
        Ok(_) => println!("\nLOCK: free"),
        Err(DataDirError::InUse { pid: Some(pid), .. }) => println!("\nLOCK: held by {pid}"),
        Err(other) => println!("\nLOCK: {other}"),
    }
}

#[test]
fn the_mark_of_a_clean_stop_is_kafkas_and_is_read_once() {
    let folder = temporary();
    let dir = DataDir::open(folder.path(), NODE).unwrap();
    assert_eq!(dir.take_clean_shutdown().unwrap(), None);
    dir.mark_clean_shutdown(11).unwrap();
    let text = fs::read_to_string(folder.path().join(".kafka_cleanshutdown")).unwrap();
    assert_eq!(text, r#"{"version":0,"brokerEpoch":11}"#, "as Kafka 4.2 writes it");
    assert_eq!(dir.take_clean_shutdown().unwrap(), Some(CleanShutdown { broker_epoch: Some(11) }));
    assert_eq!(dir.take_clean_shutdown().unwrap(), None);
    for unclear in ["", "{}", "{\"version\":0,\"brokerEpoch\":-1}"] {
        fs::write(folder.path().join(".kafka_cleanshutdown"), unclear).unwrap();
        assert_eq!(dir.take_clean_shutdown().unwrap(), Some(CleanShutdown { broker_epoch: None }));
    }
}
