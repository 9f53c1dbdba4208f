//! Raw settings and where each came from, so that an error can name the line.
//!
//! Strength, weakest first: file, `--set`. Inside one source the last of two equal keys wins, as in Java.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use java_properties::{LineContent, PropertiesIter};

/// Largest property file, bytes; Kafka's own is 6 KB with all its comments.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    File { path: PathBuf, line: usize },
    CommandLine,
}

impl Origin {
    /// Without the file's name, where it is clear which file is meant.
    pub fn short(&self) -> String {
        match self {
            Origin::File { line, .. } => format!("line {line}"),
            Origin::CommandLine => "command line".to_owned(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Origin::CommandLine => f.write_str("command line"),
        }
    }
}

/// A value as written, without blanks around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    pub value: String,
    pub origin: Origin,
}

/// All values as written, by key.
#[derive(Clone, Debug, Default)]
pub struct Properties {
    values: BTreeMap<String, Raw>,
    warnings: Vec<String>,
}

impl Properties {
    /// Reads the file (if any) and lays the command line's settings over it.
    pub fn gather(file: Option<&Path>, set: &[(String, String)]) -> Result<Properties, String> {
        let mut properties = Properties::default();
        if let Some(path) = file {
            properties.read(path)?;
        }
        for (key, value) in set {
            let raw = Raw { value: value.trim().to_owned(), origin: Origin::CommandLine };
            properties.values.insert(key.clone(), raw);
        }
        Ok(properties)
    }

    fn read(&mut self, path: &Path) -> Result<(), String> {
        let file = File::open(path).map_err(|error| format!("cannot open {}: {error}", path.display()))?;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(format!("{} is larger than {FILE_BYTES_MAX} bytes", path.display()));
        }
        for line in PropertiesIter::new(bytes.as_slice()) {
            let line = line.map_err(|error| {
                let at = error.line_number().map(|line| format!(", line {line}")).unwrap_or_default();
                format!("{}{at}: not a line of a property file: {error}", path.display())
            })?;
            let number = line.line_number();
            let LineContent::KVPair(key, value) = line.consume_content() else { continue };
            let origin = Origin::File { path: path.to_owned(), line: number };
            let raw = Raw { value: value.trim().to_owned(), origin };
            if let Some(before) = self.values.insert(key.clone(), raw) {
                self.warnings.push(format!("{}: {key} is set again in line {number}, which counts", before.origin));
            }
        }
        Ok(())
    }

    /// The value of a key, when it is written and not empty.
    pub fn get(&self, key: &str) -> Option<&Raw> {
        self.values.get(key).filter(|raw| !raw.value.is_empty())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &Raw)> {
        self.values.iter()
    }

    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// The error for a bad value: where it is written, key, value, what is allowed.
    pub fn bad(&self, key: &str, allowed: &str) -> String {
        match self.values.get(key) {
            Some(raw) => bad_value(key, raw, allowed),
            None => format!("{key}: {allowed}"),
        }
    }
}

/// See [`Properties::bad`].
pub fn bad_value(key: &str, raw: &Raw, allowed: &str) -> String {
    format!("{}: {key}={}: {allowed}", raw.origin, raw.value)
}
