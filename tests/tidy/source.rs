//! Reads the tree: every Rust file that a `mod` leads to, its code without comments and strings, its functions.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the package.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// One Rust file.
#[derive(Debug)]
pub struct Source {
    /// Relative to the package, with `/`.
    pub path: String,
    pub text: String,
    /// The text with comments and the insides of strings turned into blanks; lines and columns stay.
    pub code: String,
    /// `code` without what is compiled for tests only; empty for a test file.
    pub product: String,
}

impl Source {
    pub fn new(path: &str, is_test: bool, text: String) -> Source {
        let code = code_only(&text);
        let product = if is_test { String::new() } else { without_tests(&code) };
        Source { path: path.to_owned(), text, code, product }
    }

    /// The module below `src/`, for instance `wire`; `None` for the root files and everything outside.
    pub fn module(&self) -> Option<&str> {
        self.path.strip_prefix("src/")?.split_once('/').map(|(module, _)| module)
    }

    /// `path:line: what`, for an index that counts from 0.
    pub fn finding(&self, line_index: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, line_index + 1)
    }

    /// Line index, name and length in lines of each function with a body.
    pub fn functions(&self) -> Vec<(usize, String, usize)> {
        let mut found = Vec::new();
        for at in words(&self.code, "fn") {
            let rest = &self.code[at + 2..];
            let name: String = rest.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if name.is_empty() {
                continue; // A function type.
            }
            let Some(stop) = rest.find(['{', ';']) else { continue };
            // An array type in the signature, `[u8; 4]`, holds a semicolon that does not end it.
            let Some(open) = body_start(rest, stop) else { continue };
            let end = at + 2 + open + block_len(&rest[open..]);
            let lines = self.code[at..end].matches('\n').count() + 1;
            found.push((line_of(&self.code, at), name, lines));
        }
        found
    }
}

/// The brace that opens a body, or `None` for a declaration.
fn body_start(rest: &str, first: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, c) in rest.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if at >= first && depth == 0 => return Some(at),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Bytes of the block that starts with the first byte, its closing brace included.
fn block_len(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    text.len()
}

pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count()
}

/// Where `word` stands alone: not as a part of a longer name.
pub fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let name = |c: char| c.is_alphanumeric() || c == '_';
    let starts = word.starts_with(name);
    let ends = word.ends_with(name);
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = text[..at].chars().next_back().is_some_and(name);
        let after = text[at + word.len()..].chars().next().is_some_and(name);
        !(starts && before || ends && after)
    })
}

/// Everything that is compiled, and everything that lies about.
#[derive(Debug)]
pub struct Tree {
    pub sources: Vec<Source>,
    pub files: Vec<String>,
}

impl Tree {
    pub fn read() -> Tree {
        let mut tree = Tree { sources: Vec::new(), files: files(&root(), "rs") };
        let mut seen = BTreeSet::new();
        let roots = tree.files.clone().into_iter().filter(|path| is_root(path));
        for path in roots {
            let is_test = path.starts_with("tests/");
            tree.follow(&path, is_test, &mut seen);
        }
        assert!(tree.sources.len() > 20, "the tree was not found");
        tree
    }

    fn follow(&mut self, path: &str, is_test: bool, seen: &mut BTreeSet<String>) {
        if !seen.insert(path.to_owned()) {
            return;
        }
        let text = fs::read_to_string(root().join(path)).expect("a file that was just listed");
        for (child, child_is_test) in children(path, &text) {
            if let Some(child) = child.into_iter().find(|one| root().join(one).is_file()) {
                self.follow(&child, is_test || child_is_test, seen);
            }
        }
        self.sources.push(Source::new(path, is_test, text));
    }
}

/// Files that Cargo hands to the compiler by itself.
fn is_root(path: &str) -> bool {
    let direct = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| !rest.contains('/'));
    matches!(path, "src/lib.rs" | "src/main.rs" | "build.rs" | "fuzz/src/lib.rs")
        || direct("tests/")
        || direct("benches/")
        || direct("examples/")
        || direct("fuzz/fuzz_targets/")
        // A bench of several files lies in a folder of its own.
        || (path.starts_with("benches/") && path.ends_with("/main.rs") && path.matches('/').count() == 2)
}

/// `tests/../src/wire.rs` → `src/wire.rs`.
fn without_detours(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// For each `mod name;`: the places where its file may be, and whether only tests see it.
fn children(path: &str, text: &str) -> Vec<(Vec<String>, bool)> {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let own = match file {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
        _ if is_root(path) => folder.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    };
    let (mut found, mut attribute, mut is_test) = (Vec::new(), None, false);
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("#[path = \"") {
            attribute = rest.split('"').next().map(str::to_owned);
            continue;
        }
        if line.starts_with("#[") {
            is_test |= line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test");
            if !line.contains(" mod ") {
                continue;
            }
        }
        let name = line.strip_suffix(';').and_then(|line| line.rsplit_once("mod "));
        if let Some((before, name)) = name
            && (before.is_empty() || before.ends_with(' '))
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
        {
            let places = match attribute.take() {
                Some(other) => vec![without_detours(&format!("{folder}/{other}"))],
                None => vec![format!("{own}/{name}.rs"), format!("{own}/{name}/mod.rs")],
            };
            found.push((places, is_test));
        }
        (attribute, is_test) = (None, false);
    }
    found
}

/// Paths below `folder` with this extension, relative, sorted; without build results and hidden folders.
pub fn files(folder: &Path, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(one) = folders.pop() {
        for entry in fs::read_dir(&one).expect("a folder of the tree") {
            let path = entry.expect("an entry of a folder").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let skip = name.starts_with('.') || matches!(name, "target" | "node_modules" | "kataract-data");
            if path.is_dir() && !skip {
                folders.push(path);
            } else if path.extension().is_some_and(|have| have == extension) {
                let relative = path.strip_prefix(folder).expect("it was found below");
                found.push(relative.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    found.sort();
    found
}

/// Blanks what `#[cfg(test)]` stands before: a block, or an item up to its semicolon.
fn without_tests(code: &str) -> String {
    let mut product = code.to_owned();
    while let Some(at) = product.find("#[cfg(test)]") {
        let rest = &product[at..];
        let len = match rest.find(['{', ';']) {
            Some(stop) if rest[stop..].starts_with('{') => stop + block_len(&rest[stop..]),
            Some(stop) => stop + 1,
            None => rest.len(),
        };
        let blank: String = product[at..at + len].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        product.replace_range(at..at + len, &blank);
    }
    product
}

/// Comments and the insides of strings and characters become blanks, byte for byte.
fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let len = opaque_len(text, at);
        if len == 0 {
            out.push(bytes[at]);
            at += 1;
        } else {
            out.extend(bytes[at..at + len].iter().map(|&b| if b == b'\n' { b'\n' } else { b' ' }));
            at += len;
        }
    }
    String::from_utf8(out).expect("whole characters were kept or blanked")
}

/// Bytes of the comment or literal that begins at `at`; 0 when none does.
fn opaque_len(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let rest = &bytes[at..];
    let after_name = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest[0] {
        b'/' if rest.starts_with(b"//") => rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len()),
        b'/' if rest.starts_with(b"/*") => comment_len(rest),
        b'"' => string_len(rest),
        b'r' if !after_name || bytes[at - 1] == b'b' || bytes[at - 1] == b'c' => raw_len(rest),
        b'\'' => char_len(&text[at..]),
        _ => 0,
    }
}

fn comment_len(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn string_len(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_len(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|&&b| b == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let end = [&b"\""[..], &vec![b'#'; hashes]].concat();
    let body = 2 + hashes;
    let found = rest[body..].windows(end.len()).position(|window| window == end);
    found.map_or(rest.len(), |found| body + found + end.len())
}

/// A character, not a lifetime: the quote closes after one character or one escape.
fn char_len(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => rest[3..].find('\'').map_or(0, |close| close + 4),
        Some(_) => match chars.next() {
            Some((close, '\'')) => close + 1,
            _ => 0,
        },
        None => 0,
    }
}
