//! The reports of stored runs: one page without any outside resource, JSON with everything, CSV with a line a run.

mod csv;
mod html;
mod page;
mod plots;
pub mod series;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::args::ReportArgs;
use super::envelope;
use super::outcome::{Figure, Spread};
use super::store::{self, Stored};
use crate::cli::output::{Failure, Out};
use series::Series;

/// The files of one report.
#[derive(Debug)]
pub struct Files {
    pub html: PathBuf,
    pub json: PathBuf,
    pub csv: PathBuf,
}

/// `bench report NAME...`
pub fn run(args: &ReportArgs, out: &mut Out<'_>) -> Result<(), Failure> {
    let stored = args.names.iter().map(|name| store::load(&args.out, name)).collect::<Result<Vec<_>, _>>()?;
    write_and_tell(&args.out, &stored, out)
}

/// Writes the report and says where it is.
pub fn write_and_tell(folder: &Path, stored: &[Stored], out: &mut Out<'_>) -> Result<(), Failure> {
    let files = write(folder, stored)?;
    let shown = |path: &Path| path.display().to_string();
    let (html, json, csv) = (shown(&files.html), shown(&files.json), shown(&files.csv));
    if out.is_json() {
        return out.json(&json!({"report": {"html": html, "json": json, "csv": csv}}));
    }
    out.line(format_args!("report: {html} (also .json, .csv)"))
}

/// Writes the report of one stored run under its name, of several under their names joined.
pub fn write(folder: &Path, stored: &[Stored]) -> Result<Files, Failure> {
    let names: Vec<&str> = stored.iter().map(|one| one.name.as_str()).collect();
    let name = names.join("+");
    let at = |ending: &str| store::path(folder, &name, ending);
    let files = Files { html: at("html"), json: at("json"), csv: at("csv") };
    let series = series::of(stored);
    let keep = |path: &Path, text: String| {
        fs::write(path, text).map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))
    };
    keep(&files.html, page::page(stored, &series, envelope::stored(folder).as_ref()))?;
    keep(&files.json, format!("{:#}", data(stored, &series)))?;
    keep(&files.csv, csv::table(stored))?;
    Ok(files)
}

/// Everything, for programs.
fn data(stored: &[Stored], series: &[Series<'_>]) -> Value {
    let figures = |one: &Series<'_>| -> serde_json::Map<String, Value> {
        let spread = |figure: Figure| Spread::of(one.entries.iter().filter_map(|entry| figure.of(&entry.outcome)));
        let known = Figure::ALL.into_iter().filter_map(|figure| Some((figure, spread(figure)?)));
        known.map(|(figure, spread)| (figure.title().to_owned(), json!(spread))).collect()
    };
    let series: Vec<Value> = series
        .iter()
        .map(|one| {
            json!({
                "label": one.label, "run": one.run, "cluster": one.target, "axes": one.axes, "runs": one.entries.len(),
                "figures": figures(one), "curve": one.curve(),
            })
        })
        .collect();
    let runs: Vec<Value> =
        stored.iter().map(|one| json!({"name": one.name, "sessions": one.sessions, "results": one.entries})).collect();
    json!({"series": series, "runs": runs})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::store::tests::{entry, session};

    #[test]
    fn a_report_is_three_files_that_agree() {
        let folder = tempfile::tempdir().unwrap();
        let entries = vec![entry("k", &[("acks", "1")], 0, 1000.0), entry("k", &[("acks", "all")], 0, 3000.0)];
        let stored = Stored { name: "x".to_owned(), sessions: vec![session("p")], entries };
        let files = write(folder.path(), std::slice::from_ref(&stored)).unwrap();
        let json: Value = serde_json::from_slice(&fs::read(&files.json).unwrap()).unwrap();
        assert_eq!(json["series"][1]["label"], "acks=all");
        assert_eq!(json["series"][1]["figures"]["p99 ms"]["median"], 3.0);
        let csv = fs::read_to_string(&files.csv).unwrap();
        assert_eq!(csv.lines().count(), 3, "{csv}");
        let html = fs::read_to_string(&files.html).unwrap();
        for text in ["acks=all", "<svg", "p99.9", "batch.size", "Linux"] {
            assert!(html.contains(text), "{text}");
        }
        for outside in ["http:", "https:", "src=", "@import", "url("] {
            let page = html.replace("http://www.w3.org/2000/svg", "");
            assert!(!page.contains(outside), "{outside}: a page stands alone");
        }
        let both = write(folder.path(), &[stored.clone(), Stored { name: "y".to_owned(), ..stored }]).unwrap();
        assert!(both.html.ends_with("x+y.html"));
    }
}
