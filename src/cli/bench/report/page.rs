//! The page of a report, top to bottom: what ran, ratios, curves, bars, heat maps, drift, every figure, every setting,
//! the machine.

use super::html::{STYLE, escape, section, table};
use super::plots::{self, COLOURS};
use super::series::Series;
use crate::cli::bench::compare;
use crate::cli::bench::envelope::Envelope;
use crate::cli::bench::goal;
use crate::cli::bench::outcome::Figure;
use crate::cli::bench::store::Stored;
use crate::cli::bench::units;
use crate::cli::time_text::format_time;

/// The whole document.
pub fn page(stored: &[Stored], series: &[Series<'_>], envelope: Option<&Envelope>) -> String {
    let name = stored.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(" and ");
    let sections = [
        ratios(series),
        curves(series),
        throughput(series),
        heat_maps(series),
        goals(series),
        drift(series),
        figures(series),
        settings(series),
        failures(series),
        machines(stored),
        envelope.map(envelope_of).unwrap_or_default(),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{name}: kataract bench</title><style>{STYLE}</style></head><body>\
         <header><h1>{name}</h1><p>{}</p></header>{}</body></html>\n",
        escape(&lead(stored, series)),
        sections.concat(),
        name = escape(&name),
    )
}

fn lead(stored: &[Stored], series: &[Series<'_>]) -> String {
    let runs: usize = series.iter().map(|one| one.entries.len()).sum();
    let first = stored.iter().flat_map(|one| &one.sessions).next();
    let when = first.map(|session| format!(", {}, kataract {}", format_time(session.started_ms), session.kataract));
    let what = series.first().map(|one| one.entries[0].workload.mode.name()).unwrap_or("nothing");
    let count = crate::cli::output::count_of(runs as u64, "run");
    format!("kataract bench: {what}, {count}{}", when.unwrap_or_default())
}

/// Two sides are divided by each other.
fn ratios(series: &[Series<'_>]) -> String {
    let [first, second] = series else { return String::new() };
    let rows: Vec<Vec<String>> = compare::ratios(&first.entries, &second.entries)
        .into_iter()
        .map(|one| vec![one.figure.title().to_owned(), one.first.text(), one.second.text(), one.ratio.text()])
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let divided = format!("{} / {}", first.label, second.label);
    let titles = ["", first.label.as_str(), second.label.as_str(), divided.as_str()];
    let lead = "Medians and, in brackets, the range. The ratio is taken run by run, of the runs with the same number.";
    section("Side by side", lead, &table("figures", &titles, &rows))
}

fn curves(series: &[Series<'_>]) -> String {
    let mut shown: Vec<&Series<'_>> = series.iter().filter(|one| !one.curve().is_empty()).collect();
    let all = shown.len();
    if all == 0 {
        return String::new();
    }
    let mut lead = "Half of the answers came within the time at p50, all but one in a thousand within that at p99.9. \
                    Of several runs the median, point by point."
        .to_owned();
    if all > COLOURS {
        let p99 = |one: &&Series<'_>| one.spread(Figure::P99).map_or(f64::MAX, |spread| spread.median);
        shown.sort_by(|a, b| p99(a).total_cmp(&p99(b)));
        // From the lowest to the highest p99, evenly.
        shown = (0..COLOURS).map(|at| shown[at * (all - 1) / (COLOURS - 1)]).collect();
        lead.push_str(&format!(" {COLOURS} of {all} series, from the lowest p99 to the highest."));
    }
    section("Latency", &lead, &plots::curves(&shown))
}

fn throughput(series: &[Series<'_>]) -> String {
    let mut body = plots::bars(series, Figure::Megabytes);
    let cpu = plots::bars(series, Figure::CpuPerGb);
    if !cpu.is_empty() {
        body.push_str(&format!("<h3>CPU of the broker for a gigabyte</h3>{cpu}"));
    }
    let raw = series.iter().any(|one| one.entries[0].workload.client == crate::cli::bench::workload::ClientKind::Raw);
    let what = if raw { "bytes of record batches as they travel" } else { "bytes of keys and values" };
    let lead = format!("Medians, with a line over the range where there are several runs; {what}, MB = 10^6 bytes.");
    section("Throughput", &lead, &body)
}

fn heat_maps(series: &[Series<'_>]) -> String {
    let is_matrix = series.len() > 1 && series.iter().all(|one| !one.axes.is_empty() && one.run == series[0].run);
    if !is_matrix {
        return String::new();
    }
    let figures = [Figure::Megabytes, Figure::P99, Figure::P999, Figure::CpuPerGb];
    let map =
        |figure: Figure| plots::heat(series, figure.title(), |one| one.spread(figure).map(|spread| spread.median));
    let found = plots::heat(series, "records/s within the goal", |one| one.found().map(|spread| spread.median));
    let maps: String = std::iter::once(found).chain(figures.map(map)).collect();
    section("Matrix", "Medians of each cell; the darker in light (the brighter in dark), the higher.", &maps)
}

fn goals(series: &[Series<'_>]) -> String {
    let rows: Vec<Vec<String>> = series
        .iter()
        .flat_map(|one| one.entries.iter().filter_map(|entry| Some((&one.label, entry.found.as_ref()?))))
        .map(|(label, found)| {
            let tried = found
                .tried
                .iter()
                .map(|(rate, met)| format!("{} {}", units::number(*rate), if *met { "met" } else { "missed" }));
            vec![label.clone(), goal::describe(found), tried.collect::<Vec<_>>().join(", ")]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let lead =
        "The highest rate, by bisection, at which the percentile stayed below its limit; figures are of that rate.";
    section("Goal", lead, &table("facts", &["", "found", "records/s tried"], &rows))
}

fn drift(series: &[Series<'_>]) -> String {
    let plot = plots::drift(series);
    if plot.is_empty() {
        return String::new();
    }
    let lead = "Each run against the median of its own series. A slope means that the host changed meanwhile.";
    section("Drift", lead, &plot)
}

fn figures(series: &[Series<'_>]) -> String {
    let known: Vec<Figure> =
        Figure::ALL.into_iter().filter(|figure| series.iter().any(|one| one.spread(*figure).is_some())).collect();
    let mut titles = vec!["", "runs"];
    titles.extend(known.iter().map(|figure| figure.title()));
    let rows: Vec<Vec<String>> = series
        .iter()
        .map(|one| {
            let mut row = vec![one.label.clone(), one.entries.len().to_string()];
            let cell = |figure: &Figure| {
                one.spread(*figure).map_or_else(|| "–".to_owned(), |spread| spread.text().replacen(" (", "\n(", 1))
            };
            row.extend(known.iter().map(cell));
            row
        })
        .collect();
    section("All figures", "Medians and, in brackets, the range of the runs.", &table("figures wide", &titles, &rows))
}

fn settings(series: &[Series<'_>]) -> String {
    let all: Vec<Vec<(String, String)>> = series.iter().map(|one| one.entries[0].workload.settings()).collect();
    let Some(first) = all.first() else { return String::new() };
    let value = |settings: &[(String, String)], name: &str| {
        settings.iter().find(|(one, _)| one == name).map_or_else(|| "–".to_owned(), |(_, value)| value.clone())
    };
    let rows: Vec<Vec<String>> = first
        .iter()
        .map(|(name, _)| {
            let mut values: Vec<String> = Vec::new();
            for settings in &all {
                let value = value(settings, name);
                if !values.contains(&value) {
                    values.push(value);
                }
            }
            vec![name.clone(), values.join(" | ")]
        })
        .collect();
    let lead =
        "What all runs had in common, and after each other what differed; the label of a series says which is whose.";
    section("Settings", lead, &table("facts", &[], &rows))
}

fn failures(series: &[Series<'_>]) -> String {
    let mut rows = Vec::new();
    for one in series {
        for entry in &one.entries {
            let outcome = &entry.outcome;
            let mut what = Vec::new();
            if outcome.failed > 0 || outcome.first_failure.is_some() {
                let why = outcome.first_failure.as_deref().unwrap_or("unknown");
                what.push(format!("{} records failed, the first: {why}", outcome.failed));
            }
            if outcome.unanswered > 0 {
                what.push(format!("{} records were never answered", outcome.unanswered));
            }
            if outcome.interrupted {
                what.push("ended before its time".to_owned());
            }
            if !what.is_empty() {
                rows.push(vec![one.label.clone(), format!("run {}: {}", entry.repeat + 1, what.join("; "))]);
            }
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    section("What went wrong", "", &table("facts", &[], &rows))
}

fn machines(stored: &[Stored]) -> String {
    let mut body = String::new();
    let mut shown = Vec::new();
    for one in stored {
        for session in &one.sessions {
            let mut rows = session.machine.rows();
            rows.extend(session.clusters.iter().flat_map(|seen| seen.rows()));
            if shown.contains(&rows) {
                continue;
            }
            let cells: Vec<Vec<String>> = rows.iter().map(|(name, value)| vec![name.clone(), value.clone()]).collect();
            let when = escape(&format!("{}, {}", one.name, format_time(session.started_ms)));
            body.push_str(&format!("<h3>{when}</h3>{}", table("facts", &[], &cells)));
            shown.push(rows);
        }
    }
    let lead = "The machine of the client; the disk is that of a broker whose process or folder was named.";
    section("Machine", lead, &body)
}

fn envelope_of(envelope: &Envelope) -> String {
    let rows: Vec<Vec<String>> =
        envelope.rows.iter().map(|row| vec![row.name.clone(), units::number(row.value), row.unit.clone()]).collect();
    let disk = envelope.disk.as_ref().map(|disk| format!(", {} on {}", disk.file_system, disk.device));
    let lead = format!(
        "The limits that the figures above are read against: {}, {}{}.",
        format_time(envelope.at_ms),
        envelope.machine.kernel,
        disk.unwrap_or_default()
    );
    section("What this machine can do at best", &lead, &table("figures", &["", "", ""], &rows))
}
