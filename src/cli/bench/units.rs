//! Sizes, times, rates and percentiles as people type and read them; every parser names what it would have taken.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bytes: a number with an optional unit, `16384`, `16KiB`, `1MB`.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: &[(&str, f64)] = &[
        ("", 1.0),
        ("B", 1.0),
        ("KB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
    ];
    let (number, unit) = split_unit(text);
    let factor = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| factor);
    match (number, factor) {
        (Some(number), Some(factor)) if number >= 0.0 && number * factor <= 1e15 => {
            Ok((number * factor).round() as u64)
        }
        _ => Err(format!("'{text}' is no size such as 16384, 16KiB, 1MB or 4GB")),
    }
}

/// A time: a number with a unit, `5s`, `500ms`, `2m`; a bare number counts seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let factor = match unit {
        "us" | "µs" => Some(1e-6),
        "ms" => Some(1e-3),
        "" | "s" => Some(1.0),
        "m" | "min" => Some(60.0),
        "h" => Some(3600.0),
        _ => None,
    };
    match (number, factor) {
        (Some(number), Some(factor)) if (0.0..=1e7).contains(&(number * factor)) => {
            Ok(Duration::from_secs_f64(number * factor))
        }
        _ => Err(format!("'{text}' is no time such as 10ms, 5s or 2m")),
    }
}

fn split_unit(text: &str) -> (Option<f64>, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let number = text[..end].replace('_', "").parse::<f64>().ok().filter(|number| number.is_finite());
    (number, text[end..].trim())
}

/// What an open loop keeps up, whatever the answers do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    RecordsPerSecond(f64),
    /// Raw client only: a library decides by itself what goes into one request.
    RequestsPerSecond(f64),
    /// Bytes of keys and values.
    BytesPerSecond(f64),
}

impl Rate {
    /// `1000` or `1000records/s`, `1500req/s`, `20MB/s`.
    pub fn parse(text: &str) -> Result<Rate, String> {
        let hint = || format!("'{text}' is no rate such as 1000 (records a second), 1500req/s or 20MB/s");
        let plain = text.trim().strip_suffix("/s").unwrap_or(text.trim());
        let (number, unit) = split_unit(plain);
        let number = number.filter(|&number| number > 0.0).ok_or_else(hint)?;
        match unit {
            "" | "records" | "rec" => Ok(Rate::RecordsPerSecond(number)),
            "req" | "requests" => Ok(Rate::RequestsPerSecond(number)),
            _ => parse_bytes(plain).map(|bytes| Rate::BytesPerSecond(bytes as f64)).map_err(|_| hint()),
        }
    }
}

/// A percentile that must stay below a time: `p99=10ms`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// 0 to 1; 1 is the highest value seen.
    pub quantile: f64,
    /// Microseconds.
    pub limit_us: f64,
}

impl Goal {
    pub fn parse(text: &str) -> Result<Goal, String> {
        let hint = || format!("'{text}' is no goal such as p99=10ms, p99.9=50ms or max=1s");
        let (name, limit) = text.split_once('=').ok_or_else(hint)?;
        let quantile = match name.trim() {
            "max" => 1.0,
            name => {
                let percent = name.strip_prefix('p').and_then(|digits| digits.parse::<f64>().ok()).ok_or_else(hint)?;
                percent / 100.0
            }
        };
        let limit = parse_duration(limit).map_err(|_| hint())?;
        if !(0.0..=1.0).contains(&quantile) || limit.is_zero() {
            return Err(hint());
        }
        Ok(Goal { quantile, limit_us: limit.as_secs_f64() * 1e6 })
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ≤ {}", percentile_name(self.quantile), time(self.limit_us))
    }
}

/// `p99.9`, or `max` for 1.
pub fn percentile_name(quantile: f64) -> String {
    if quantile >= 1.0 {
        return "max".to_owned();
    }
    // Rounded, because 0.999 * 100 is not 99.9 in binary.
    format!("p{}", (quantile * 1e6).round() / 1e4)
}

/// A number with its thousands apart and as many digits behind the point as it needs: three that count.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let digits = match value.abs() {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{:.digits$}", value.abs());
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), ""), |(whole, fraction)| (whole, fraction));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if value < 0.0 { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{grouped}") } else { format!("{sign}{grouped}.{fraction}") }
}

/// A time in microseconds with a unit that suits it.
pub fn time(us: f64) -> String {
    match us {
        us if !us.is_finite() => "–".to_owned(),
        us if us < 1e3 => format!("{} µs", number(us)),
        us if us < 1e6 => format!("{} ms", number(us / 1e3)),
        us => format!("{} s", number(us / 1e6)),
    }
}

/// Bytes in the binary unit that divides them, else in plain bytes.
pub fn bytes(count: u64) -> String {
    match count {
        0 => "0 B".to_owned(),
        _ if count.is_multiple_of(1 << 30) => format!("{} GiB", count >> 30),
        _ if count.is_multiple_of(1 << 20) => format!("{} MiB", count >> 20),
        _ if count.is_multiple_of(1 << 10) => format!("{} KiB", count >> 10),
        1..100 => format!("{count} B"),
        _ => format!("{} B", number(count as f64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_take_units_and_refuse_the_rest() {
        for (text, bytes) in [("16384", 16_384), ("16KiB", 16_384), ("1MB", 1_000_000), ("1.5 GiB", 1_610_612_736)] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for (text, ms) in [("5", 5000), ("10ms", 10), ("2m", 120_000), ("0s", 0)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for wrong in ["", "x", "-1", "5 parsec", "1e400", "KiB"] {
            assert!(parse_bytes(wrong).is_err() && parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_count_records_requests_or_bytes() {
        assert_eq!(Rate::parse("1000"), Ok(Rate::RecordsPerSecond(1000.0)));
        assert_eq!(Rate::parse("1_500req/s"), Ok(Rate::RequestsPerSecond(1500.0)));
        assert_eq!(Rate::parse("20MB/s"), Ok(Rate::BytesPerSecond(2e7)));
        assert!(Rate::parse("0").is_err() && Rate::parse("fast").is_err());
    }

    #[test]
    fn goals_name_a_percentile_and_a_limit() {
        let goal = Goal::parse("p99.9=50ms").unwrap();
        assert!((goal.quantile - 0.999).abs() < 1e-12 && (goal.limit_us - 5e4).abs() < 1e-6, "{goal:?}");
        assert_eq!(Goal::parse("max=1s").map(|goal| goal.to_string()), Ok("max ≤ 1.00 s".to_owned()));
        for wrong in ["p99", "p101=1ms", "p99=0ms", "fast=1ms"] {
            assert!(Goal::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_show_three_digits_that_count() {
        for (value, text) in
            [(1_234_567.8, "1,234,568"), (99.95, "100.0"), (9.876, "9.88"), (0.25, "0.250"), (0.0, "0")]
        {
            assert_eq!(number(value), text);
        }
        assert_eq!((time(940.0), time(3_100.0), time(2.5e6)), ("940 µs".into(), "3.10 ms".into(), "2.50 s".into()));
        assert_eq!(
            (percentile_name(0.999), percentile_name(0.5), percentile_name(1.0)),
            ("p99.9".into(), "p50".into(), "max".into())
        );
        assert_eq!((bytes(16_384), bytes(1000)), ("16 KiB".to_owned(), "1,000 B".to_owned()));
    }
}
