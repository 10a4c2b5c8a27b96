//! Sizes and durations as operators write them.

use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// A number of bytes: a whole number, with or without `KiB`, `MiB` or `GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub usize);

/// A duration: a whole number with `ms`, `s`, `m`, `h` or `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
        scaled(text, units)
            .and_then(|bytes| usize::try_from(bytes).ok())
            .map(Self)
            .ok_or_else(|| "a size is a whole number of bytes, with or without KiB, MiB or GiB".into())
    }
}

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
        scaled(text, units)
            .map(|milliseconds| Self(Duration::from_millis(milliseconds)))
            .ok_or_else(|| "a duration is a whole number with ms, s, m, h or d, such as 30s".into())
    }
}

fn scaled<const N: usize>(text: &str, units: [(&str, u64); N]) -> Option<u64> {
    let (number, factor) = units.iter().find_map(|(unit, f)| Some((text.strip_suffix(unit)?, *f)))?;
    let digits = !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit());
    number.parse::<u64>().ok().filter(|_| digits)?.checked_mul(factor)
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_have_units_and_nothing_else_passes() {
        assert_eq!("16MiB".parse(), Ok(Size(16 << 20)));
        assert_eq!("7".parse(), Ok(Size(7)));
        assert_eq!("250ms".parse(), Ok(Span(Duration::from_millis(250))));
        assert_eq!("2d".parse(), Ok(Span(Duration::from_hours(48))));
        for bad in ["", "MiB", "-1", "+1", "1.5MiB", "1 KiB", "99999999999999GiB"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
        for bad in ["", "5", "s", "-1s", "1.5s", "99999999999999999d"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }
}
