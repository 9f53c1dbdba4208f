//! Where a command's words go: standard output for people or as JSON for programs, and the one way to fail.

use std::fmt;
use std::io::{ErrorKind, Write};

use serde_json::Value;

/// Why a command ends with an exit code other than 0.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// One line for standard error.
    Message(String),
    /// What went wrong has been printed already, item by item.
    Reported,
    /// Nobody reads our output any more (`... | head`): stop quietly, this is no error.
    OutputClosed,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Failure {
        Failure::Message(message.into())
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Failure {
        Failure::Message(message)
    }
}

/// The output of one command.
pub struct Out<'a> {
    sink: &'a mut dyn Write,
    json: bool,
}

impl fmt::Debug for Out<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Out").field("json", &self.json).finish_non_exhaustive()
    }
}

impl<'a> Out<'a> {
    pub fn new(sink: &'a mut dyn Write, json: bool) -> Out<'a> {
        Out { sink, json }
    }

    /// Whether `--json` was asked for.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints one line for people.
    pub fn line(&mut self, line: fmt::Arguments<'_>) -> Result<(), Failure> {
        let written = self.sink.write_fmt(line).and_then(|()| self.sink.write_all(b"\n"));
        written.map_err(|error| output_failure(&error))
    }

    /// Prints one JSON value on a line of its own.
    pub fn json(&mut self, value: &Value) -> Result<(), Failure> {
        self.line(format_args!("{value}"))
    }

    /// Prints raw bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.sink.write_all(bytes).map_err(|error| output_failure(&error))
    }

    pub fn flush(&mut self) -> Result<(), Failure> {
        self.sink.flush().map_err(|error| output_failure(&error))
    }

    /// Prints rows in columns; the first row holds the titles.
    pub fn table(&mut self, rows: &[Vec<String>]) -> Result<(), Failure> {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut widths = vec![0; columns];
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            self.line(format_args!("{}", line.trim_end()))?;
        }
        Ok(())
    }
}

fn output_failure(error: &std::io::Error) -> Failure {
    if error.kind() == ErrorKind::BrokenPipe {
        return Failure::OutputClosed;
    }
    Failure::Message(format!("cannot write the output: {error}"))
}

/// `what` is the singular; anything but one gets an `s`.
pub fn count_of(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Standard base64 with padding: how bytes that are no text appear in JSON.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, &byte| (bits << 8) | u32::from(byte)) << (8 * (3 - group.len()));
        for index in 0..4 {
            if index <= group.len() {
                text.push(ALPHABET[(bits >> (18 - 6 * index)) as usize & 63] as char);
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// Puts bytes (or their absence) into a JSON object: under `name` as text, or under `name_base64` when they are none.
pub fn insert_bytes(object: &mut serde_json::Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(std::str::from_utf8) {
        None => object.insert(name.to_owned(), Value::Null),
        Some(Ok(text)) => object.insert(name.to_owned(), Value::from(text)),
        Some(Err(_)) => object.insert(format!("{name}_base64"), Value::from(base64(bytes.unwrap_or_default()))),
    };
}

/// Bytes for people: text as it is, with control characters and everything that is no text escaped.
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for part in bytes.utf8_chunks() {
        for symbol in part.valid().chars() {
            match symbol {
                '\t' => text.push(symbol),
                '\n' | '\r' => text.extend(symbol.escape_default()),
                '\0'..='\x7f' if symbol.is_control() => text.push_str(&format!("\\x{:02x}", u32::from(symbol))),
                _ if symbol.is_control() => text.extend(symbol.escape_default()),
                _ => text.push(symbol),
            }
        }
        for byte in part.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_the_answers_of_rfc_4648() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn what_is_no_text_is_escaped_for_people_and_base64_for_programs() {
        assert_eq!(printable(b"a\xffb\x1b[0m\n"), "a\\xffb\\x1b[0m\\n");
        let mut object = serde_json::Map::new();
        insert_bytes(&mut object, "key", None);
        insert_bytes(&mut object, "value", Some(b"\xff"));
        assert_eq!(Value::from(object).to_string(), r#"{"key":null,"value_base64":"/w=="}"#);
    }

    #[test]
    fn a_table_lines_its_columns_up() {
        let mut sink = Vec::new();
        let rows = [vec!["TOPIC".to_owned(), "N".to_owned()], vec!["a".to_owned(), "12".to_owned()]];
        Out::new(&mut sink, false).table(&rows).unwrap();
        assert_eq!(String::from_utf8(sink).unwrap(), "TOPIC  N\na      12\n");
    }
}
