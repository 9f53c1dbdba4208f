//! Times as people write and read them: ISO 8601 in UTC, or milliseconds since 1970.
//!
//! The calendar is the proleptic Gregorian one; days are counted with a year that starts in March, so that the leap day
//! is its last one.

const DAY_MS: i64 = 86_400_000;

/// Days from 1970-01-01 to a civil date.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The civil date (year, month, day) that many days after 1970-01-01.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// A time in ms since 1970 as `2026-11-21T05:43:21.123Z`; negative (Kafka's "none") as `-`.
pub fn format_time(ms: i64) -> String {
    if ms < 0 {
        return "-".to_owned();
    }
    let (year, month, day) = civil_from_days(ms / DAY_MS);
    let of_day = ms % DAY_MS;
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", of_day % 1000)
}

/// Parses milliseconds since 1970, or ISO 8601: `2026-11-21`, `2026-11-21T05:43`, `...:21`, `...:21.123`, then nothing
/// or `Z` (UTC) or an offset like `+01:00`.
pub fn parse_time(text: &str) -> Result<i64, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_err(|_| format!("'{text}' is too large for milliseconds since 1970"));
    }
    parse_iso(text).ok_or_else(|| {
        format!(
            "'{text}' is no time: write 2026-11-21T05:43:21Z (UTC unless +01:00 or the like follows) or ms since 1970"
        )
    })
}

fn parse_iso(text: &str) -> Option<i64> {
    let (date, rest) = match text.split_once(['T', ' ']) {
        Some((date, rest)) => (date, rest),
        None => (text, ""),
    };
    let mut parts = date.splitn(3, '-');
    let (year, month, day) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let days = days_from_civil(year, month, day);
    if !(1..=12).contains(&month) || civil_from_days(days) != (year, month, day) {
        return None;
    }
    if rest.is_empty() {
        return if text.len() == date.len() { Some(days * DAY_MS) } else { None };
    }
    let (clock, offset_minutes) = split_offset(rest)?;
    Some(days * DAY_MS + parse_clock(clock)? - offset_minutes * 60_000)
}

/// Splits `05:43:21+01:00` into the clock and the minutes east of Greenwich.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(clock) = text.strip_suffix('Z') {
        return Some((clock, 0));
    }
    let Some(at) = text.rfind(['+', '-']) else { return Some((text, 0)) };
    let (clock, offset) = text.split_at(at);
    let (hours, minutes) = offset[1..].split_once(':')?;
    let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
    if hours > 18 || minutes > 59 {
        return None;
    }
    let east = hours * 60 + minutes;
    Some((clock, if offset.starts_with('-') { -east } else { east }))
}

fn parse_clock(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, ':');
    let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let (second, fraction) = match parts.next() {
        None => (0, 0),
        Some(seconds) => match seconds.split_once('.') {
            None => (number(seconds, 2)?, 0),
            Some((second, fraction)) if (1..=9).contains(&fraction.len()) => {
                let value = number(fraction, fraction.len())?;
                (number(second, 2)?, value * 1000 / 10i64.pow(fraction.len() as u32))
            }
            Some(_) => return None,
        },
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(((hour * 60 + minute) * 60 + second) * 1000 + fraction)
}

/// Exactly `digits` decimal digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    if text.len() != digits || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_and_parse_back() {
        for ms in [0, 951_782_400_000, 951_868_799_999, 1_795_239_801_123, 4_107_542_400_000, 13_569_465_599_999] {
            assert_eq!(parse_time(&format_time(ms)), Ok(ms));
        }
        assert_eq!(format_time(1_709_164_800_000), "2024-02-29T00:00:00.000Z");
        assert_eq!(format_time(-1), "-");
    }

    #[test]
    fn short_forms_and_offsets_are_understood() {
        assert_eq!(parse_time("1700000000000"), Ok(1_700_000_000_000));
        assert_eq!(parse_time("1970-01-02"), Ok(DAY_MS));
        assert_eq!(parse_time("1970-01-01T01:00"), Ok(3_600_000));
        assert_eq!(parse_time("1970-01-01 01:00:00.5+01:00"), Ok(500));
        assert_eq!(parse_time("1970-01-01T00:00:00-00:30"), Ok(1_800_000));
    }

    #[test]
    fn nonsense_is_refused_and_the_message_shows_what_to_write() {
        let long = "9".repeat(40);
        for text in ["", "yesterday", "2023-02-29", "2023-13-01", "2023-01-01T", "2023-01-01T24:00", "2023-1-1", &long]
        {
            let error = parse_time(text).expect_err(text);
            assert!(error.contains("1970"), "{error}");
        }
    }
}
