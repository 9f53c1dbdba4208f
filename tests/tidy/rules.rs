//! Calls and words that are banned, where, and what to use instead.

use crate::source::{Source, line_of, words};

/// Floors whose code is machines: no file, socket, thread, clock, environment.
const MACHINES: &[&str] =
    &["base", "port", "batch", "log", "wire", "replica", "raft", "meta", "coord", "shard", "api", "engine"];

#[derive(Clone, Copy)]
enum Where {
    /// Floors 0 to 7, tests left out.
    Machines,
    /// `wire` and `batch`, which read hostile bytes; tests left out.
    Hostile,
    /// Machines and drivers, which speak through `tracing`; tests left out.
    Silent,
    /// Every Rust file, tests included.
    Everywhere,
}

const BANNED: &[(&str, Where, &str)] = &[
    ("std::fs", Where::Machines, "ask with port::disk::DiskOp, a driver carries it out"),
    ("std::net::Tcp", Where::Machines, "ask with port::net::NetOp, a driver carries it out"),
    ("std::net::Udp", Where::Machines, "the broker speaks TCP, through port::net"),
    ("ToSocketAddrs", Where::Machines, "looking up names blocks: node does it before the start"),
    ("std::thread", Where::Machines, "a core has one thread and it belongs to the driver"),
    ("std::env", Where::Machines, "node reads the environment and passes settings in"),
    ("std::process", Where::Machines, "return an error: main decides how the process ends"),
    ("std::time::Instant", Where::Machines, "time arrives as base::time::Now"),
    ("std::time::SystemTime", Where::Machines, "time arrives as base::time::Now"),
    ("Instant::now", Where::Machines, "time arrives as base::time::Now"),
    ("SystemTime::now", Where::Machines, "time arrives as base::time::Now"),
    ("Mutex", Where::Machines, "state has one owner; send a message to it"),
    ("RwLock", Where::Machines, "state has one owner; send a message to it"),
    ("Condvar", Where::Machines, "state has one owner; send a message to it"),
    ("thread_local!", Where::Machines, "no globals: pass the state in"),
    ("static mut", Where::Machines, "no globals: pass the state in"),
    ("OnceLock", Where::Machines, "no globals: pass the state in"),
    ("LazyLock", Where::Machines, "no globals: pass the state in"),
    ("async", Where::Machines, "machines are synchronous: answer with an effect, take its end as an input"),
    ("RandomState", Where::Machines, "randomness arrives as base::prng::Prng"),
    ("cfg(feature", Where::Machines, "if a driver or the simulator needs a hook, the interface is missing something"),
    ("println!", Where::Silent, "emit a tracing event; cli prints"),
    ("print!", Where::Silent, "emit a tracing event; cli prints"),
    ("eprintln!", Where::Silent, "emit a tracing event; cli prints"),
    (".unwrap()", Where::Hostile, "bytes from outside get a typed error"),
    ("get_unchecked", Where::Hostile, "bytes from outside are bounds-checked"),
    ("todo!", Where::Everywhere, "finish it or answer with an error"),
    ("unimplemented!", Where::Everywhere, "finish it or answer with an error"),
    ("dbg!", Where::Everywhere, "use a tracing event"),
    ("#[ignore", Where::Everywhere, "a test that nobody runs proves nothing: mend it or remove it"),
    ("unsafe", Where::Everywhere, "unsafe code lives in src/rt and src/base/chunk.rs"),
];

/// Integration tests may be, for instance to count allocations; the compiler's lint asks them for a reason.
fn may_be_unsafe(path: &str) -> bool {
    path.starts_with("src/rt/") || path == "src/base/chunk.rs" || path.starts_with("tests/")
}

pub fn banned(source: &Source) -> Vec<String> {
    let module = source.module().unwrap_or_default();
    let mut findings = Vec::new();
    for (word, place, instead) in BANNED {
        let text = match place {
            Where::Machines if MACHINES.contains(&module) => &source.product,
            Where::Hostile if matches!(module, "wire" | "batch") => &source.product,
            Where::Silent if MACHINES.contains(&module) || matches!(module, "rt" | "sim") => &source.product,
            Where::Everywhere if *word == "unsafe" && may_be_unsafe(&source.path) => continue,
            Where::Everywhere => &source.code,
            _ => continue,
        };
        for at in words(text, word) {
            findings.push(source.finding(line_of(text, at), &format!("{word} is banned here: {instead}")));
        }
    }
    findings
}

/// Names declared as a hash map or set, and whatever walks through them: the order differs from run to run.
pub fn hash_iteration(source: &Source) -> Vec<String> {
    if !MACHINES.contains(&source.module().unwrap_or_default()) {
        return Vec::new();
    }
    let code = &source.product;
    let mut names: Vec<&str> = Vec::new();
    for kind in ["HashMap", "HashSet"] {
        for at in words(code, kind) {
            // `name: HashMap<..>`, `name: &mut HashMap<..>`, `let name = HashMap::new()`.
            let before = code[..at].trim_end_matches(|c: char| c == '&' || c.is_whitespace()).trim_end_matches("mut");
            let Some(before) = before.trim_end().strip_suffix([':', '=']) else { continue };
            let name = before.trim_end().rsplit(|c: char| !c.is_alphanumeric() && c != '_').next();
            names.extend(name.filter(|name| !name.is_empty()));
        }
    }
    names.sort_unstable();
    names.dedup();
    let walks = ["iter", "iter_mut", "into_iter", "keys", "into_keys", "values", "values_mut", "into_values", "drain"];
    let mut findings = Vec::new();
    for name in names {
        let calls = walks.iter().chain(&["retain"]).map(|walk| format!("{name}.{walk}("));
        let loops =
            ["in &", "in &mut ", "in &self.", "in &mut self.", "in self."].map(|head| format!("{head}{name} {{"));
        for pattern in calls.chain(loops) {
            for at in words(code, &pattern) {
                let what = format!("{pattern}..: a hash map has another order in each run, use a BTreeMap");
                findings.push(source.finding(line_of(code, at), &what));
            }
        }
    }
    findings
}

/// Unsafe blocks and implementations without a SAFETY comment on the lines above.
pub fn unexplained_unsafe(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut findings = Vec::new();
    for at in words(&source.code, "unsafe") {
        let rest = source.code[at + "unsafe".len()..].trim_start();
        if !rest.starts_with('{') && !rest.starts_with("impl") {
            continue; // A function: its callers explain, and its documentation has a section about it.
        }
        let line = line_of(&source.code, at);
        let explained = lines[line.saturating_sub(8)..=line].iter().any(|line| line.contains("SAFETY:"));
        if !explained {
            findings.push(source.finding(line, "an unsafe block without `// SAFETY:` above it: what does it rely on?"));
        }
    }
    findings
}
