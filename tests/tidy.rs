//! The house rules as tests: floors, sizes, banned calls, dead files, links. Each message says what to do instead.
//!
//! There is no list of exceptions. A rule that turns out to be wrong is changed here, with its reason, for everybody.
#![allow(clippy::disallowed_methods, reason = "reads the source tree")]

#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/settings.rs"]
mod settings;
#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use source::{Source, Tree, root};

/// Longest file, lines.
const FILE_LINES_MAX: usize = 600;
/// Longest function, lines from its `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Longest line, characters.
const COLUMNS_MAX: usize = 120;

/// Fails with every finding at once.
fn none(findings: Vec<String>) {
    assert!(findings.is_empty(), "{} findings:\n{}\n", findings.len(), findings.join("\n"));
}

fn each(check: impl Fn(&Source) -> Vec<String>) {
    none(Tree::read().sources.iter().flat_map(check).collect());
}

#[test]
fn imports_point_down_the_floors_only() {
    each(floors::upward_imports);
}

#[test]
fn machines_do_not_reach_the_world_and_nothing_unfinished_or_unsafe_slips_in() {
    each(rules::banned);
}

#[test]
fn hash_maps_are_not_iterated_in_machines() {
    each(rules::hash_iteration);
}

#[test]
fn settings_that_are_called_honoured_have_a_reader() {
    none(settings::unread(&Tree::read()));
}

#[test]
fn unsafe_blocks_say_what_they_rely_on() {
    each(rules::unexplained_unsafe);
}

#[test]
fn files_functions_and_lines_are_short() {
    each(|source| {
        let mut findings = Vec::new();
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            let path = &source.path;
            findings.push(format!(
                "{path}: {lines} lines, at most {FILE_LINES_MAX}. Split where the second subject begins"
            ));
        }
        for (index, line) in source.text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                findings.push(source.finding(index, &format!("{columns} columns, at most {COLUMNS_MAX}")));
            }
        }
        for (index, name, lines) in source.functions() {
            if lines > FUNCTION_LINES_MAX {
                let what = format!("fn {name} has {lines} lines, at most {FUNCTION_LINES_MAX}. Name its steps");
                findings.push(source.finding(index, &what));
            }
        }
        findings
    });
}

#[test]
fn every_file_says_first_why_it_exists() {
    each(|source| {
        if source.text.starts_with("//! ") {
            return Vec::new();
        }
        vec![format!("{}: does not start with `//! `: why does it exist, and what are its invariants?", source.path)]
    });
}

#[test]
fn every_rust_file_is_part_of_a_crate() {
    let tree = Tree::read();
    let reached: BTreeSet<&str> = tree.sources.iter().map(|source| source.path.as_str()).collect();
    let dead = |path: &String| !reached.contains(path.as_str());
    let say = |path: &String| format!("{path}: no `mod` leads here, so nobody compiles it. Declare it or remove it");
    none(tree.files.iter().filter(|path| dead(path)).map(say).collect());
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut findings = Vec::new();
    for path in source::files(&root(), "md") {
        let text = fs::read_to_string(root().join(&path)).expect("a document that was just listed");
        let folder = Path::new(&path).parent().map(PathBuf::from).unwrap_or_default();
        for (index, target) in links(&text) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
                continue;
            }
            if !root().join(&folder).join(file).exists() {
                findings.push(format!("{path}:{}: the link to {target} leads nowhere", index + 1));
            }
        }
    }
    none(findings);
}

/// Line index and target of each `](target)` outside code.
fn links(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut fenced) = (Vec::new(), false);
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        // Every second piece between backquotes is code.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
        for piece in prose.split("](").skip(1) {
            if let Some((target, _)) = piece.split_once(')') {
                found.push((index, target.trim().to_owned()));
            }
        }
    }
    found
}

#[test]
fn the_checks_find_what_they_look_for() {
    let source = Source::new("src/wire/probe.rs", false, include_str!("tidy/probe.txt").to_owned());
    let findings =
        [rules::banned(&source), rules::hash_iteration(&source), rules::unexplained_unsafe(&source)].concat();
    let wanted = [":6: std::fs", ":8: todo!", ":9: .unwrap()", ":12: map.keys", ":15: unsafe", ":15: an unsafe"];
    for one in wanted {
        assert!(findings.iter().any(|finding| finding.contains(one)), "{one} not found in {findings:#?}");
    }
    assert_eq!(findings.len(), wanted.len(), "{findings:#?}");
    let upward = floors::upward_imports(&source);
    assert_eq!(upward.len(), 2, "{upward:#?}");
    assert!(upward[0].contains(":4: wire imports log") && upward[1].contains(":5: wire imports api"), "{upward:#?}");
    let lengths: Vec<(String, usize)> = source.functions().into_iter().map(|(_, name, lines)| (name, lines)).collect();
    assert_eq!(lengths, [("work".to_owned(), 12), ("tested".to_owned(), 3)]);
    assert_eq!(
        links("[a](b.md) `[c](d)`\n```\n[e](f)\n```\n[g](h#i)"),
        [(0, "b.md".to_owned()), (4, "h#i".to_owned())]
    );
}
