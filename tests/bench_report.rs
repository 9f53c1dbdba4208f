//! `kataract bench` as a user runs it: every verb against a real node, and the report in a real browser.
//!
//! Without Chromium one line says `skipped: ...`; the files are looked at either way. Loads are short: whether figures
//! come out and lie where they must is asked here, not how high they are.
#![allow(clippy::disallowed_methods, reason = "the harness runs processes, reads clocks and files")]

#[path = "clients/broker.rs"]
#[allow(dead_code, reason = "shared with the client tests, which use the rest")]
mod broker;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use broker::{Driver, Node};

/// The one piece of the client tests' harness that `broker` uses.
mod running {
    use std::io::Write;

    /// One line about a test that does not run here; past the capture of the test runner, so that it is seen.
    pub fn skipped(why: &str) {
        // Nobody is left to tell when standard error is gone.
        let _ = writeln!(std::io::stderr(), "skipped: {why}");
    }
}

/// Longest time one command may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs a program to its end, or kills it at the limit.
fn finish(command: &mut Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the program starts");
    let (sender, ended) = std::sync::mpsc::channel();
    let pid = child.id().to_string();
    let watch = thread::spawn(move || {
        if ended.recv_timeout(LIMIT).is_err() {
            Command::new("kill").args(["-KILL", &pid]).status().expect("kill(1)");
        }
    });
    let (mut stdout, mut stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let errors = thread::spawn(move || {
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut stderr, &mut text).expect("a pipe");
        text
    });
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut stdout, &mut text).expect("a pipe");
    let status = child.wait().expect("the end of a child");
    sender.send(()).ok();
    watch.join().expect("the watch");
    Output { status, stdout: text, stderr: errors.join().expect("the reader") }
}

fn bench(words: &[&str]) -> Output {
    finish(Command::new(env!("CARGO_BIN_EXE_kataract")).arg("bench").args(words))
}

/// The JSON lines of a command that must succeed.
fn lines(words: &[&str]) -> Vec<Value> {
    let output = bench(words);
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "bench {words:?}: {text}\n{errors}");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn positive(value: &Value, what: &str) {
    assert!(value.as_f64().is_some_and(|number| number > 0.0), "{what}: {value}");
}

#[test]
fn every_verb_measures_a_node_and_cleans_up() {
    let Some(node) = Node::start_if_possible(Driver::Posix) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().to_str().expect("a plain path");
    let pid = node.pid().to_string();
    let common = ["--bootstrap", &node.address, "--out", out, "--json", "--quiet", "--broker-pid", &pid];
    let quick = ["--warm-up", "200ms", "--duration", "800ms", "--partitions", "2"];
    for (name, words) in [
        ("produce", &["produce", "--linger-ms", "1", "--keys", "zipf:100"][..]),
        ("produce-raw", &["produce", "--raw", "--compression", "lz4"]),
        ("produce-paced", &["produce", "--raw", "--rate", "200req/s"]),
        ("consume", &["consume", "--fill", "3MB"]),
        ("consume-raw", &["consume", "--raw", "--fill", "3MB"]),
        ("end-to-end", &["end-to-end", "--rate", "200", "--linger-ms", "0"]),
        ("end-to-end-raw", &["end-to-end", "--raw", "--rate", "200", "--batch-size", "1"]),
    ] {
        let warm: &[&str] = if name.starts_with("consume") { &["--warm-up", "0s"] } else { &quick[..2] };
        let said = lines(&[words, warm, &quick[2..], &common, &["--name", name]].concat());
        let outcome = &said[0]["result"]["outcome"];
        positive(&outcome["records"], name);
        positive(&outcome["seconds"], name);
        assert_eq!(
            (&outcome["failed"], &outcome["unanswered"]),
            (&Value::from(0), &Value::from(0)),
            "{name}: {outcome}"
        );
        positive(&outcome["broker"]["resident_mb"], name);
        if name != "consume" {
            positive(&outcome["latency"]["p50_us"], name);
        }
        if name.contains("end-to-end") {
            // 200 a second for 0.8 seconds, each waited for.
            let count = outcome["latency"]["count"].as_u64().unwrap_or(0);
            assert!((150..=170).contains(&count), "{name}: {count} latencies");
        }
        if name.starts_with("consume") {
            let bytes = outcome["bytes"].as_u64().unwrap_or(0);
            assert!((2_900_000..3_400_000).contains(&bytes), "{name} read {bytes} bytes");
        }
        for ending in ["jsonl", "html", "json", "csv"] {
            assert!(folder.path().join(format!("{name}.{ending}")).is_file(), "{name}.{ending}");
        }
    }
    let topics =
        finish(Command::new(env!("CARGO_BIN_EXE_kataract")).args(["--bootstrap", &node.address, "topic", "list"]));
    let topics = String::from_utf8_lossy(&topics.stdout).into_owned();
    assert!(!topics.contains("kataract-bench-"), "topics are deleted: {topics}");
}

#[test]
fn a_matrix_goes_on_where_it_was_and_a_comparison_takes_turns() {
    let Some(node) = Node::start_if_possible(Driver::Posix) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().to_str().expect("a plain path");
    let common = ["--out", out, "--json", "--quiet", "--warm-up", "100ms", "--duration", "300ms", "--partitions", "2"];
    let matrix = |repeats: &str| {
        let words = ["matrix", "--bootstrap", &node.address, "--name", "grid", "--raw", "--repeats", repeats];
        let axes = ["--vary", "acks=1,all", "--vary", "batch.size=4KiB,64KiB"];
        lines(&[&words[..], &axes, &common].concat())
    };
    let results = |lines: &[Value]| lines.iter().filter(|line| !line["result"].is_null()).count();
    assert_eq!(results(&matrix("1")), 4);
    assert_eq!(results(&matrix("1")), 0, "everything is there");
    assert_eq!(results(&matrix("2")), 4, "one more round");
    let other =
        bench(&[&["matrix", "--bootstrap", &node.address, "--name", "grid", "--vary", "acks=1"][..], &common].concat());
    assert!(String::from_utf8_lossy(&other.stderr).contains("another plan"), "{other:?}");

    let (first, second) = (format!("one={}", node.address), format!("two={}", node.address));
    let words = ["compare", &first, &second, "--raw", "--rounds", "3", "--name", "pair"];
    let said = lines(&[&words[..], &common].concat());
    let order: Vec<&str> = said.iter().filter_map(|line| line["result"]["target"].as_str()).collect();
    assert_eq!(order, ["one", "two", "one", "two", "one", "two"]);
    let ratios = &said[6]["ratios"];
    assert!(
        ratios[0]["figure"] == "MB/s" && ratios[0]["ratio"]["median"].as_f64().is_some_and(|r| r > 0.0),
        "{ratios}"
    );

    let goal = ["produce", "--bootstrap", &node.address, "--raw", "--latency-goal", "p50=5s", "--name", "goal"];
    let said = lines(&[&goal[..], &common].concat());
    positive(&said[0]["result"]["found"]["records_per_second"], "a goal that everything meets");

    lines(&["report", "grid", "pair", "--out", out, "--json"]);
    browse(&folder.path().join("grid.html"), &["acks=all", "batch.size=64KiB", "p99.9"], 3);
    browse(&folder.path().join("pair.html"), &["one / two", "Side by side"], 2);
    browse(&folder.path().join("grid+pair.html"), &["grid and pair"], 1);
}

#[test]
fn ctrl_c_ends_a_run_and_keeps_what_was_measured() {
    let Some(node) = Node::start_if_possible(Driver::Posix) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut child = Command::new(env!("CARGO_BIN_EXE_kataract"))
        .args(["bench", "produce", "--raw", "--warm-up", "0s", "--duration", "10m", "--name", "long"])
        .args(["--bootstrap", &node.address, "--json", "--out"])
        .arg(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the bench starts");
    // The first line of progress: the run is on.
    let mut progress = std::io::BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut progress, &mut line).expect("a line of progress");
    assert!(line.contains("MB/s"), "{line}");
    let asked = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill(1)");
    assert!(asked.success());
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut progress, &mut rest).expect("the end of the progress");
    let output = child.wait_with_output().expect("the end of the bench");
    assert!(output.status.code() == Some(1) && rest.contains("is kept"), "{output:?} {rest}");
    let first = output.stdout.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let outcome = &serde_json::from_slice::<Value>(first).expect("a result")["result"]["outcome"];
    assert_eq!(outcome["interrupted"], true, "{outcome}");
    positive(&outcome["records"], "what was measured");
    assert!(outcome["seconds"].as_f64().is_some_and(|seconds| seconds < 60.0), "{outcome}");
    assert!(fs::read_to_string(folder.path().join("long.html")).is_ok_and(|page| page.contains("before its time")));
}

#[test]
fn what_is_wrong_is_said_in_a_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().to_str().expect("a plain path");
    for (words, wanted) in [
        (&["produce", "--bootstrap", "127.0.0.1:1", "--timeout", "1"][..], "no answer from 127.0.0.1:1"),
        (&["produce", "--client", "no.such.setting=1"], "no.such.setting"),
        (&["produce", "--raw", "--client", "linger.ms=1"], "--raw does not use"),
        (&["produce", "--broker-pid", "4194305"], "no process 4194305"),
        (&["report", "nothing"], "no results named nothing"),
    ] {
        let output = bench(&[words, &["--out", out]].concat());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && errors.contains(wanted), "{words:?}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

/// Chromium's page as it stands after loading: the texts are on it, and it has so many plots; a picture can be taken.
fn browse(page: &Path, texts: &[&str], plots: usize) {
    let Some(browser) = browser() else {
        let required = std::env::var("KATARACT_REQUIRE_BROWSER").is_ok_and(|value| value == "1");
        assert!(!required, "no Chromium is installed");
        return running::skipped("no Chromium to look at the report with");
    };
    let profile = tempfile::tempdir().expect("a temporary folder");
    let picture = profile.path().join("page.png");
    let run = |wanted: &str| {
        let started = Instant::now();
        let output = finish(
            Command::new(&browser)
                .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
                .arg(format!("--user-data-dir={}", profile.path().display()))
                .args(["--window-size=1200,2400", wanted])
                .arg(format!("file://{}", page.display())),
        );
        assert!(output.status.success(), "{wanted} after {:?}: {output:?}", started.elapsed());
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let dom = run("--dump-dom");
    for text in texts {
        assert!(dom.contains(text), "{text} is not on {}", page.display());
    }
    // The parser has found nothing to mend: what was written is what stands there.
    let count = |text: &str, what: &str| text.matches(what).count();
    let written = fs::read_to_string(page).expect("the report");
    for tag in ["<section", "<table", "<svg", "<path", "<tr", "<td"] {
        assert_eq!(count(&dom, tag), count(&written, tag), "{tag} in {}", page.display());
    }
    assert!(count(&dom, "class=\"plot\"") >= plots.min(1) && count(&dom, "<section") >= plots, "{}", page.display());
    run(&format!("--screenshot={}", picture.display()));
    let bytes = fs::read(&picture).expect("a picture");
    assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 20_000, "an empty picture of {} bytes", bytes.len());
}

fn browser() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&folders).flat_map(|folder| names.map(|name| folder.join(name))).find(|path| path.is_file())
}
