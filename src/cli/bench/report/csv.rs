//! A line a run, for spreadsheets (RFC 4180).

use crate::cli::bench::outcome::Figure;
use crate::cli::bench::store::Stored;
use crate::cli::time_text::format_time;

/// A field in quotes where it needs them. What a spreadsheet would take for a formula gets a quote in front.
fn field(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '@']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

pub fn table(stored: &[Stored]) -> String {
    let mut settings: Vec<String> = Vec::new();
    for entry in stored.iter().flat_map(|one| &one.entries) {
        for (name, _) in entry.workload.settings() {
            if !settings.contains(&name) {
                settings.push(name);
            }
        }
    }
    let mut titles: Vec<String> = ["run", "cluster", "repeat", "at"].map(str::to_owned).to_vec();
    titles.extend(Figure::ALL.iter().map(|figure| figure.title().to_owned()));
    titles.extend(["seconds", "failed", "unanswered", "interrupted", "goal records/s"].map(str::to_owned));
    titles.extend(settings.iter().cloned());
    let mut text = line(&titles);
    for one in stored {
        for entry in &one.entries {
            let outcome = &entry.outcome;
            let mut fields =
                vec![one.name.clone(), entry.target.clone(), entry.repeat.to_string(), format_time(entry.at_ms)];
            let number = |value: Option<f64>| value.map(|value| format!("{value:.4}")).unwrap_or_default();
            fields.extend(Figure::ALL.iter().map(|figure| number(figure.of(outcome))));
            fields.push(number(Some(outcome.seconds)));
            fields.extend([
                outcome.failed.to_string(),
                outcome.unanswered.to_string(),
                outcome.interrupted.to_string(),
            ]);
            fields.push(number(entry.found.as_ref().map(|found| found.records_per_second)));
            let own = entry.workload.settings();
            let value = |name: &String| own.iter().find(|(one, _)| one == name).map(|(_, value)| value.clone());
            fields.extend(settings.iter().map(|name| value(name).unwrap_or_default()));
            text.push_str(&line(&fields));
        }
    }
    text
}

fn line(fields: &[String]) -> String {
    let fields: Vec<String> = fields.iter().map(|text| field(text)).collect();
    format!("{}\r\n", fields.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::store::tests::entry;

    #[test]
    fn fields_that_would_break_a_line_are_quoted() {
        assert_eq!(field("a,b\"c"), "\"a,b\"\"c\"");
        assert_eq!(field("=1+1"), "'=1+1");
        assert_eq!(field("-1"), "-1");
    }

    #[test]
    fn every_line_has_every_column() {
        let entries = vec![entry("a \"k\", x", &[], 0, 1000.0), entry("b", &[], 1, 1000.0)];
        let text = table(&[Stored { name: "n".to_owned(), sessions: Vec::new(), entries }]);
        let lines: Vec<&str> = text.split("\r\n").filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with("n,\"a \"\"k\"\", x\",0,2023-"), "{}", lines[1]);
        assert_eq!(lines[0].split(',').count(), lines[2].split(',').count());
    }
}
