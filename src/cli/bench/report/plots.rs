//! Plots as inline SVG, made by hand: a drawing library would bring fonts, an image encoder and fixed colours along,
//! while these few shapes take their colours from the page, in light and in dark.

use super::html::escape;
use super::series::Series;
use crate::cli::bench::outcome::Figure;
use crate::cli::bench::store::Entry;
use crate::cli::bench::units;

/// Colours of the style sheet.
pub const COLOURS: usize = 8;
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = 54.0;

/// A range of values and where it lies on the page.
#[derive(Clone, Copy, Debug)]
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }
}

fn svg(body: &str, name: &str) -> String {
    let name = escape(name);
    format!("<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{name}\">{body}</svg>")
}

/// A text; `anchor` is start, middle or end.
fn text(x: f64, y: f64, anchor: &str, words: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(words))
}

fn line(class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> String {
    format!("<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>")
}

fn horizontal(y: f64, label: &str) -> String {
    line("grid", (LEFT, y), (WIDTH - RIGHT, y)) + &text(LEFT - 8.0, y + 4.0, "end", label)
}

fn vertical(x: f64, label: &str) -> String {
    line("grid", (x, TOP), (x, HEIGHT - BOTTOM)) + &text(x, HEIGHT - BOTTOM + 18.0, "middle", label)
}

fn titles(x: &str, y: &str) -> String {
    let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
    let turned = format!(
        "<text transform=\"translate(16 {middle:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        escape(y)
    );
    text((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 10.0, "middle", x) + &turned
}

/// Round numbers for a logarithmic axis that holds all values: 1, 2, 5, 10, ...; only powers of ten if there are many.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let steps = |digits: &[f64]| -> Vec<f64> {
        let decades = low.log10().floor() as i32 - 1..=high.log10().ceil() as i32;
        let all: Vec<f64> = decades.flat_map(|power| digits.iter().map(move |d| d * 10f64.powi(power))).collect();
        // One tick below the lowest value and one above the highest.
        let first = all.iter().rposition(|&tick| tick <= low * 1.000_001).unwrap_or(0);
        let last = all.iter().position(|&tick| tick >= high * 0.999_999).unwrap_or(all.len() - 1);
        all[first..=last.max(first + 1).min(all.len() - 1)].to_vec()
    };
    let fine = steps(&[1.0, 2.0, 5.0]);
    if fine.len() <= 12 { fine } else { steps(&[1.0]) }
}

/// Latency over percentiles: the further right, the rarer; each step of the grid is ten times as rare.
pub fn curves(series: &[&Series<'_>]) -> String {
    // Rarity of a quantile: 0 for all of them, 2 for one in a hundred.
    let rarity = |quantile: f64| -(1.0 - quantile).log10();
    let all: Vec<Vec<(f64, f64)>> = series
        .iter()
        .map(|one| one.curve().into_iter().map(|(quantile, us)| (rarity(quantile), us.max(0.1))).collect())
        .collect();
    let points = || all.iter().flatten();
    let (Some(low), Some(high)) =
        (points().map(|p| p.1).min_by(f64::total_cmp), points().map(|p| p.1).max_by(f64::total_cmp))
    else {
        return String::new();
    };
    let ticks = log_ticks(low, high);
    let (bottom, top) = (ticks[0].log10(), ticks[ticks.len() - 1].log10());
    let rarest = points().map(|p| p.0).max_by(f64::total_cmp).unwrap_or(1.0).max(1.0);
    let x = Scale { low: 0.0, high: rarest, from: LEFT, to: WIDTH - RIGHT };
    let y = Scale { low: bottom, high: top, from: HEIGHT - BOTTOM, to: TOP };
    let mut body: String = ticks.iter().map(|&us| horizontal(y.at(us.log10()), &tick_time(us))).collect();
    for quantile in [0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999] {
        if rarity(quantile) <= rarest + 1e-6 {
            body += &vertical(x.at(rarity(quantile)), &units::percentile_name(quantile));
        }
    }
    body += &line("axis", (LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM));
    for (number, curve) in all.iter().enumerate().filter(|(_, curve)| !curve.is_empty()) {
        let path: Vec<String> =
            curve.iter().map(|&(at, us)| format!("{:.1} {:.1}", x.at(at), y.at(us.log10()))).collect();
        let (colour, dash) = (number % COLOURS, dash(number));
        body += &format!("<path class=\"curve s{colour}\"{dash} d=\"M{}\"/>", path.join("L"));
    }
    body += &titles("percentile of the answers", "latency");
    svg(&body, "latency by percentile") + &legend(series)
}

/// A time without digits that a round number does not need.
fn tick_time(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{} µs", (us * 10.0).round() / 10.0),
        us if us < 1e6 => format!("{} ms", (us / 100.0).round() / 10.0),
        us => format!("{} s", (us / 1e5).round() / 10.0),
    }
}

/// Every second line is dashed, so that lines differ without colours too.
fn dash(number: usize) -> &'static str {
    if number % 2 == 1 { " stroke-dasharray=\"7 4\"" } else { "" }
}

fn legend(series: &[&Series<'_>]) -> String {
    let entry = |(number, one): (usize, &&Series<'_>)| {
        format!(
            "<li><svg viewBox=\"0 0 26 8\"><line class=\"curve s{}\"{} x1=\"0\" y1=\"4\" x2=\"26\" y2=\"4\"/></svg>\
             {}</li>",
            number % COLOURS,
            dash(number),
            escape(&one.label)
        )
    };
    format!("<ul class=\"legend\">{}</ul>", series.iter().enumerate().map(entry).collect::<String>())
}

/// A bar for the median of each series, a line over the range of its runs.
pub fn bars(series: &[Series<'_>], figure: Figure) -> String {
    let spreads: Vec<_> = series.iter().map(|one| one.spread(figure)).collect();
    let most = spreads.iter().flatten().map(|spread| spread.high).fold(0.0, f64::max);
    if most <= 0.0 {
        return String::new();
    }
    let mut rows = String::new();
    for (number, (one, spread)) in series.iter().zip(&spreads).enumerate() {
        let Some(spread) = spread else { continue };
        let at = |value: f64| value / most * 100.0;
        let (low, middle, high) = (at(spread.low), at(spread.median), at(spread.high));
        let colour = if series.len() <= COLOURS { number } else { 0 };
        let mut bar =
            format!("<rect class=\"f{colour}\" x=\"0\" y=\"2\" width=\"{middle:.2}\" height=\"14\" rx=\"1\"/>");
        if high > low {
            for (x1, y1, x2, y2) in [(low, 9, high, 9), (low, 5, low, 13), (high, 5, high, 13)] {
                let ends = format!("x1=\"{x1:.2}\" y1=\"{y1}\" x2=\"{x2:.2}\" y2=\"{y2}\"");
                bar.push_str(&format!("<line class=\"whisker\" {ends}/>"));
            }
        }
        rows.push_str(&format!(
            "<tr><th scope=\"row\">{}</th>\
             <td><svg viewBox=\"0 0 100.5 18\" preserveAspectRatio=\"none\">{bar}</svg></td><td>{}</td></tr>",
            escape(&one.label),
            escape(&format!("{} {}", spread.text(), figure.title().trim_start_matches("broker CPU ")))
        ));
    }
    format!("<table class=\"bars\"><tbody>{rows}</tbody></table>")
}

/// Throughput of each run against the median of its series, in the order of time: a host that slows down shows as a
/// slope.
pub fn drift(series: &[Series<'_>]) -> String {
    let mut points = Vec::new();
    for (number, one) in series.iter().enumerate().filter(|(_, one)| one.entries.len() > 1) {
        let Some(median) = one.spread(Figure::Megabytes).map(|spread| spread.median).filter(|&median| median > 0.0)
        else {
            continue;
        };
        let of = |entry: &Entry| Figure::Megabytes.of(&entry.outcome).map(|value| value / median * 100.0);
        points.extend(one.entries.iter().filter_map(|entry| Some((entry.at_ms, of(entry)?, number, &one.label))));
    }
    let Some(first) = points.iter().map(|point| point.0).min() else { return String::new() };
    let minutes = |at_ms: i64| (at_ms - first) as f64 / 60_000.0;
    let longest = points.iter().map(|point| minutes(point.0)).fold(0.0, f64::max).max(0.1);
    let widest = points.iter().map(|point| (point.1 - 100.0).abs()).fold(5.0, f64::max);
    let half = [5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0].into_iter().find(|&half| half >= widest).unwrap_or(widest);
    let x = Scale { low: 0.0, high: longest * 1.02, from: LEFT + 8.0, to: WIDTH - RIGHT };
    let y = Scale { low: 100.0 - half, high: 100.0 + half, from: HEIGHT - BOTTOM, to: TOP };
    let mut body = String::new();
    for step in -2..=2 {
        let percent = 100.0 + half * f64::from(step) / 2.0;
        body += &horizontal(y.at(percent), &format!("{} %", (percent * 10.0).round() / 10.0));
    }
    for step in 0..=5 {
        let at = longest * f64::from(step) / 5.0;
        body += &vertical(x.at(at), &units::number(at));
    }
    for (at_ms, percent, number, label) in &points {
        let colour = if series.len() <= COLOURS { *number } else { 0 };
        body += &format!(
            "<circle class=\"f{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4.5\"><title>{}</title></circle>",
            x.at(minutes(*at_ms)),
            y.at(*percent),
            escape(label)
        );
    }
    body += &titles("minutes since the first run", "MB/s, of its own median");
    let legend = if series.len() <= COLOURS { legend(&series.iter().collect::<Vec<_>>()) } else { String::new() };
    svg(&body, "throughput of each run over time") + &legend
}

/// Axes as rows and columns, each cell coloured by its value between the lowest and the highest.
pub fn heat(series: &[Series<'_>], title: &str, of: impl Fn(&Series<'_>) -> Option<f64>) -> String {
    let Some(first) = series.first() else { return String::new() };
    // The first half of the axes are the rows.
    let split = first.axes.len().div_ceil(2);
    let side = |one: &Series<'_>, is_row: bool| {
        let axes = if is_row { &one.axes[..split] } else { &one.axes[split..] };
        crate::cli::bench::matrix::label(axes)
    };
    let distinct = |is_row: bool| {
        series.iter().fold(Vec::new(), |mut all: Vec<String>, one| {
            let label = side(one, is_row);
            if !all.contains(&label) {
                all.push(label);
            }
            all
        })
    };
    let (rows, columns) = (distinct(true), distinct(false));
    let values: Vec<f64> = series.iter().filter_map(&of).collect();
    let (Some(&low), Some(&high)) =
        (values.iter().min_by(|a, b| a.total_cmp(b)), values.iter().max_by(|a, b| a.total_cmp(b)))
    else {
        return String::new();
    };
    let head: String = columns.iter().map(|one| format!("<th scope=\"col\">{}</th>", escape(one))).collect();
    let mut body = String::new();
    for row in &rows {
        body.push_str(&format!("<tr><th scope=\"row\">{}</th>", escape(row)));
        for column in &columns {
            let cell = series.iter().find(|one| side(one, true) == *row && side(one, false) == *column);
            match cell.and_then(&of) {
                Some(value) => {
                    let share = if high > low { (value - low) / (high - low) } else { 0.0 };
                    body.push_str(&format!("<td style=\"--v:{share:.3}\">{}</td>", units::number(value)));
                }
                None => body.push_str("<td style=\"--v:0\">–</td>"),
            }
        }
        body.push_str("</tr>");
    }
    format!(
        "<h3>{}</h3><div class=\"scroll\"><table class=\"heat\"><thead><tr><th></th>{head}</tr></thead>\
         <tbody>{body}</tbody></table></div>",
        escape(title)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::report::series;
    use crate::cli::bench::store::Stored;
    use crate::cli::bench::store::tests::entry;

    #[test]
    fn a_logarithmic_axis_holds_its_values_between_round_numbers() {
        assert_eq!(log_ticks(300.0, 4000.0), [200.0, 500.0, 1000.0, 2000.0, 5000.0]);
        let wide = log_ticks(3.0, 9e6);
        assert_eq!((wide[0], wide.len()), (1.0, 8));
        assert!(log_ticks(100.0, 100.0).len() >= 2, "one value still has an axis");
        assert_eq!(
            (tick_time(200.0), tick_time(5000.0), tick_time(2e6)),
            ("200 µs".into(), "5 ms".into(), "2 s".into())
        );
    }

    #[test]
    fn curves_stay_inside_their_frame() {
        let entries = vec![entry("a", &[], 0, 900.0), entry("<b>", &[], 0, 77_000.0)];
        let stored = [Stored { name: "n".to_owned(), sessions: Vec::new(), entries }];
        let all = series::of(&stored);
        let plot = curves(&all.iter().collect::<Vec<_>>());
        assert!(plot.contains("&lt;b&gt;") && !plot.contains("<b>"));
        assert_eq!(plot.matches("<path").count(), 2);
        for path in plot.split("d=\"M").skip(1) {
            for point in path.split('"').next().unwrap().split('L') {
                let (x, y) = point.split_once(' ').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!((LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y), "{point}");
            }
        }
        assert_eq!(curves(&[]), "");
    }

    #[test]
    fn a_heat_map_has_a_cell_for_every_combination() {
        let cell = |a: &str, b: &str, p99: f64| entry("k", &[("acks", a), ("linger.ms", b)], 0, p99);
        let entries = vec![cell("1", "0", 1000.0), cell("1", "5", 2000.0), cell("all", "0", 3000.0)];
        let stored = [Stored { name: "n".to_owned(), sessions: Vec::new(), entries }];
        let all = series::of(&stored);
        let map = heat(&all, "p99", |one| one.spread(Figure::P99).map(|spread| spread.median));
        assert_eq!(map.matches("<td").count(), 4);
        assert!(map.contains("--v:0.500\">2.00<") && map.contains("--v:1.000\">3.00<") && map.contains(">–<"), "{map}");
        assert!(map.contains("<th scope=\"row\">acks=all</th>") && map.contains("<th scope=\"col\">linger.ms=5</th>"));
    }

    #[test]
    fn bars_and_drift_show_the_range_of_repeats() {
        let mut slow = entry("k", &[], 1, 1000.0);
        slow.outcome.bytes /= 2;
        let stored =
            [Stored { name: "n".into(), sessions: Vec::new(), entries: vec![entry("k", &[], 0, 1000.0), slow] }];
        let all = series::of(&stored);
        let bars = bars(&all, Figure::Megabytes);
        assert!(bars.contains("75.0 (50.0 – 100) MB/s") && bars.matches("whisker").count() == 3, "{bars}");
        assert_eq!(drift(&all).matches("<circle").count(), 2);
    }
}
