//! Values with units, as people write them: `4G`, `250m`, `10s`. One grammar for limits, attributes and flags.

use alloc::{format, string::String};
use core::time::Duration;

const SIZES: [(&str, u64); 6] =
    [("E", 1 << 60), ("P", 1 << 50), ("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];

/// Bytes: `4096`, `64K`, `1.5G`, `1GiB`. Units are powers of 1024, of either case.
pub fn parse_size(text: &str) -> Option<u64> {
    let upper = text.to_ascii_uppercase();
    let body = upper.strip_suffix("IB").or_else(|| upper.strip_suffix('B')).unwrap_or(&upper);
    for (unit, factor) in SIZES {
        if let Some(number) = body.strip_suffix(unit) {
            return scaled(number, factor);
        }
    }
    scaled(body, 1)
}

/// Bytes in the largest unit that needs no more than one decimal: `12M`, `1.5G`, `900`.
pub fn format_size(bytes: u64) -> String {
    for (unit, factor) in SIZES {
        if bytes >= factor {
            let tenths = (u128::from(bytes) * 10 / u128::from(factor)) as u64;
            return match tenths % 10 {
                0 => format!("{}{unit}", tenths / 10),
                rest => format!("{}.{rest}{unit}", tenths / 10),
            };
        }
    }
    format!("{bytes}")
}

/// A length of time: `10s`, `250ms`, `1.5h`, `2d`, or plain seconds.
pub fn parse_span(text: &str) -> Option<Duration> {
    const SPANS: [(&str, u64); 7] = [
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
        ("d", 86_400_000_000_000),
    ];
    for (unit, nanos) in SPANS {
        if let Some(number) = text.strip_suffix(unit)
            && let Some(value) = scaled(number, nanos)
        {
            return Some(Duration::from_nanos(value));
        }
    }
    scaled(text, 1_000_000_000).map(Duration::from_nanos)
}

/// A length of time as `HH:MM:SS`, with days before it when there are any: `2-03:04:05`.
pub fn format_span(span: Duration) -> String {
    let secs = span.as_secs();
    let clock = format!("{:02}:{:02}:{:02}", secs / 3600 % 24, secs / 60 % 60, secs % 60);
    match secs / 86_400 {
        0 => clock,
        days => format!("{days}-{clock}"),
    }
}

/// Processors in thousandths: `2` is 2000, `1.5` is 1500, `250m` is 250.
pub fn parse_cpu(text: &str) -> Option<u32> {
    let milli = match text.strip_suffix('m') {
        Some(number) => scaled(number, 1)?,
        None => scaled(text, 1000)?,
    };
    u32::try_from(milli).ok()
}

/// Thousandths of a processor as people write them: `2`, `1.5`, `250m`.
pub fn format_cpu(milli: u32) -> String {
    match (milli / 1000, milli % 1000) {
        (whole, 0) => format!("{whole}"),
        (whole, rest) if whole > 0 && rest % 100 == 0 => format!("{whole}.{}", rest / 100),
        _ => format!("{milli}m"),
    }
}

/// A decimal number with at most nine decimals, times `factor`; `None` if it is no number or does not fit.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && part.is_empty()) || !digits(whole) || !digits(part) || part.len() > 9 {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut value = whole.checked_mul(factor)?;
    if !part.is_empty() {
        let scale = 10u128.pow(part.len() as u32);
        let fraction = u128::from(part.parse::<u64>().ok()?) * u128::from(factor) / scale;
        value = value.checked_add(u64::try_from(fraction).ok()?)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("900", Some(900)),
            ("4k", Some(4096)),
            ("1.5G", Some(3 << 29)),
            ("1GiB", Some(1 << 30)),
            ("64MB", Some(64 << 20)),
            ("", None),
            (".", None),
            ("-1", None),
            ("4X", None),
            ("99999999999G", None),
            ("18446744073709551616", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }

    #[test]
    fn formatted_sizes_read_back_when_exact() {
        for bytes in [0, 1, 1023, 1024, 1536, 12 << 20, 3 << 29, 1 << 60] {
            assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
        }
    }

    #[test]
    fn spans() {
        for (text, ms) in [
            ("10s", 10_000),
            ("250ms", 250),
            ("1.5h", 5_400_000),
            ("3", 3_000),
            ("0.5", 500),
            ("2m", 120_000),
        ] {
            assert_eq!(parse_span(text), Some(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(parse_span("soon"), None);
        assert_eq!(parse_span("s"), None);
        assert_eq!(format_span(Duration::from_secs(190)), "00:03:10");
        assert_eq!(format_span(Duration::from_secs(86_400 * 2 + 11_045)), "2-03:04:05");
    }

    #[test]
    fn processors() {
        for (text, milli) in [("2", 2000), ("1.5", 1500), ("250m", 250), ("0.25", 250)] {
            assert_eq!(parse_cpu(text), Some(milli), "{text}");
        }
        assert_eq!(format_cpu(1500), "1.5");
        assert_eq!(format_cpu(250), "250m");
        assert_eq!(format_cpu(2000), "2");
        assert_eq!(parse_cpu("9999999"), None);
    }
}
