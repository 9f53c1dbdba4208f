//! Who may import whom: the table of the architecture page as data.

use crate::source::{Source, line_of, words};

/// A module and what it may name besides itself.
///
/// Siblings are absent from one another's lists, so that each can be tested alone; `shard` introduces them. `raft`,
/// `meta` and `coord` decide without a log, `api` speaks to owners instead of reaching into logs and replicas, and a
/// driver carries effects out without interpreting them.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("port", &["base"]),
    ("batch", &["base", "port"]),
    ("log", &["base", "port", "batch"]),
    ("wire", &["base", "port", "batch"]),
    ("replica", &["base", "port", "batch", "log"]),
    ("raft", &["base", "port", "batch"]),
    ("meta", &["base", "port", "batch"]),
    ("coord", &["base", "port", "batch"]),
    ("shard", &["base", "port", "batch", "log", "wire", "replica", "raft", "meta", "coord"]),
    ("api", &["base", "port", "batch", "wire", "raft", "meta", "coord", "shard"]),
    ("engine", &["base", "port", "batch", "log", "wire", "replica", "raft", "meta", "coord", "shard", "api"]),
    ("rt", &["base", "port", "engine"]),
    ("sim", &["base", "port", "batch", "log", "wire", "replica", "raft", "meta", "coord", "shard", "api", "engine"]),
    ("node", &["base", "port", "batch", "log", "wire", "meta", "shard", "api", "engine", "rt"]),
    ("cli", &["base", "port", "batch", "log", "wire", "meta", "coord", "engine", "rt", "node"]),
];

/// `crate::` paths that lead up or sideways.
pub fn upward_imports(source: &Source) -> Vec<String> {
    let Some(module) = source.module() else { return Vec::new() };
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == module) else {
        return vec![format!("{}: the module {module} is on no floor: add it to the table", source.path)];
    };
    let mut findings = Vec::new();
    for at in words(&source.code, "crate::") {
        for name in targets(&source.code[at + "crate::".len()..]) {
            let simulator = name == "sim" && source.path.starts_with("src/cli/sim");
            // Every driver answers to the contract that lies beside the real ones; tests run it, so siblings stay
            // apart.
            let contract = source.product.is_empty() && source.code[at..].starts_with("crate::rt::contract");
            if name == module || allowed.contains(&name.as_str()) || simulator || contract {
                continue;
            }
            let what = format!(
                "{module} imports {name}, may import only [{}]. Pass the data in, or move what is shared down",
                allowed.join(", ")
            );
            findings.push(source.finding(line_of(&source.code, at), &what));
        }
    }
    findings
}

/// First names of a path or of a braced list of paths; macros (which the root exports) left out.
fn targets(rest: &str) -> Vec<String> {
    let first =
        |text: &str| -> String { text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    if !rest.starts_with('{') {
        let name = first(rest);
        let is_macro = rest[name.len()..].starts_with('!') || name == "invariant";
        return if is_macro { Vec::new() } else { vec![name] };
    }
    let (mut names, mut depth, mut start) = (Vec::new(), 0_usize, 1);
    for (at, c) in rest.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => {
                names.push(first(&rest[start..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 1 => {
                names.push(first(&rest[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty() && name != "invariant");
    names
}
