//! Large payloads: bytes that lie in a file of their own, and the record that names it.
//!
//! ```text
//!   payloads/<writer>/<yyyy>/<mm>/<dd>/<hh>/<id>      the bytes, and nothing else
//!        ▲
//!        └── named by the record's headers zoutbox-payload-path, -size, -crc; its own payload is empty
//! ```
//!
//! The names are pure values here. A path comes out only of a [`PayloadName`], and such a name never leads anywhere else than
//! below the payloads of its own writer.

use std::fmt;

use crate::identity::WriterId;
use crate::layout::TEMPORARY_SUFFIX;

/// The header that names the file, relative to the share's root.
pub const PATH_HEADER: &str = "zoutbox-payload-path";
/// The header that says how many bytes it holds, in decimal.
pub const SIZE_HEADER: &str = "zoutbox-payload-size";
/// The header with the CRC-32 (as of zlib) of those bytes, in 8 hexadecimal digits, lower case.
pub const CRC_HEADER: &str = "zoutbox-payload-crc";

/// The longest payload id, in bytes: with the suffixes of temporary files it fits a file name of 255 bytes.
pub const MAX_PAYLOAD_ID: usize = 200;
/// What follows the name of a file that is about to be swept.
pub const SWEPT_SUFFIX: &str = ".swept";

const DIRECTORY: &str = "payloads";

/// Why something is no payload's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Not an id that can be a file's name.
    #[error(
        "'{0}' can't name a large payload: 1 to 200 characters, A-Z a-z 0-9 . _ -, the first one a letter or digit, and not ending in .tmp or .swept"
    )]
    Id(String),
    /// The headers of a record that should name a payload do not.
    #[error("header {0} does not name a large payload")]
    Header(&'static str),
}

/// An hour of the calendar, UTC: the directories of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour {
    /// 1970 to 9999.
    year: u16,
    /// 1 to 12.
    month: u8,
    /// 1 to 31.
    day: u8,
    /// 0 to 23.
    of_day: u8,
}

impl Hour {
    /// The hour of a time in milliseconds since 1970-01-01 UTC; the last one of the year 9999 for anything later.
    #[must_use]
    pub fn of(timestamp_ms: u64) -> Self {
        const LAST_MS: u64 = 253_402_300_799_999;
        let hours = timestamp_ms.min(LAST_MS) / 3_600_000;
        // Days since 0000-03-01, so that a leap day is a year's last: H. Hinnant, "chrono-compatible low-level date algorithms".
        let days = hours / 24 + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let small = |number: u64| u8::try_from(number).unwrap_or(u8::MAX);
        Self {
            year: u16::try_from(year).unwrap_or(u16::MAX),
            month: small(month),
            day: small(day),
            of_day: small(hours % 24),
        }
    }

    fn parse(parts: [&str; 4]) -> Option<Self> {
        let number = |text: &str, length: usize| {
            let plain = text.len() == length && text.bytes().all(|c| c.is_ascii_digit());
            if plain { text.parse::<u16>().ok() } else { None }
        };
        let [year, month, day, hour] = parts;
        let small = |text| number(text, 2).and_then(|n| u8::try_from(n).ok());
        let (year, month, day, of_day) = (number(year, 4)?, small(month)?, small(day)?, small(hour)?);
        let sound = year >= 1970 && (1..=12).contains(&month) && (1..=31).contains(&day) && of_day <= 23;
        sound.then_some(Self { year, month, day, of_day })
    }
}

impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}/{:02}/{:02}/{:02}", self.year, self.month, self.day, self.of_day)
    }
}

/// Where a large payload lies on its share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayloadName {
    writer: WriterId,
    hour: Hour,
    id: Box<str>,
}

impl PayloadName {
    /// The name of payload `id` of `writer`.
    ///
    /// # Errors
    /// [`PayloadError::Id`] with what was given, cut to a printable length.
    pub fn new(writer: WriterId, hour: Hour, id: &str) -> Result<Self, PayloadError> {
        if is_id(id) {
            Ok(Self { writer, hour, id: id.into() })
        } else {
            Err(PayloadError::Id(id.escape_debug().take(80).collect()))
        }
    }

    /// Reads what [`PayloadName`] shows; `None` for everything else, be it a path of another form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let mut part = || parts.next();
        let (DIRECTORY, writer) = (part()?, part()?) else { return None };
        let hour = Hour::parse([part()?, part()?, part()?, part()?])?;
        let id = part()?;
        if part().is_some() || !is_id(id) {
            return None;
        }
        Some(Self { writer: WriterId::new(writer).ok()?, hour, id: id.into() })
    }

    /// Whose it is.
    #[must_use]
    pub const fn writer(&self) -> &WriterId {
        &self.writer
    }

    /// Its directories below those of its writer.
    #[must_use]
    pub const fn hour(&self) -> Hour {
        self.hour
    }

    /// Its file's name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// The path below the share's root, with `/` between its parts.
impl fmt::Display for PayloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DIRECTORY}/{}/{}/{}", self.writer, self.hour, self.id)
    }
}

fn is_id(id: &str) -> bool {
    let mut bytes = id.bytes();
    bytes.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && bytes.all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'))
        && id.len() <= MAX_PAYLOAD_ID
        && !id.ends_with(TEMPORARY_SUFFIX)
        && !id.ends_with(SWEPT_SUFFIX)
}

/// What a record says of its large payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadReference {
    /// Where it lies.
    pub name: PayloadName,
    /// How many bytes it has.
    pub size: u64,
    /// CRC-32 (as of zlib) of them.
    pub crc: u32,
}

impl PayloadReference {
    /// The headers that say so, in the order in which they stand in a record: behind the application's.
    #[must_use]
    pub fn headers(&self) -> [(&'static str, String); 3] {
        [
            (PATH_HEADER, self.name.to_string()),
            (SIZE_HEADER, self.size.to_string()),
            (CRC_HEADER, format!("{:08x}", self.crc)),
        ]
    }

    /// Reads them; `None` where none of the three is there. `header` looks a value up by name.
    ///
    /// # Errors
    /// [`PayloadError::Header`] for the first one that is missing, or says what can't be.
    pub fn from_headers<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Result<Option<Self>, PayloadError> {
        let [path, size, crc] = [PATH_HEADER, SIZE_HEADER, CRC_HEADER].map(&header);
        if path.is_none() && size.is_none() && crc.is_none() {
            return Ok(None);
        }
        let name = path.and_then(PayloadName::parse).ok_or(PayloadError::Header(PATH_HEADER))?;
        let size = size.and_then(decimal).ok_or(PayloadError::Header(SIZE_HEADER))?;
        let crc = crc.and_then(hexadecimal).ok_or(PayloadError::Header(CRC_HEADER))?;
        Ok(Some(Self { name, size, crc }))
    }
}

/// Only the shortest form, so that what is read is what would be written.
fn decimal(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

fn hexadecimal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 16).ok().filter(|number| format!("{number:08x}") == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn writer() -> WriterId {
        WriterId::new("orders").expect("valid")
    }

    #[test]
    fn hours_are_those_of_the_calendar() {
        for (ms, shown) in [
            (0, "1970/01/01/00"),
            (951_782_399_999, "2000/02/28/23"),
            (951_782_400_000, "2000/02/29/00"),
            (1_700_000_000_000, "2023/11/14/22"),
            (4_107_542_399_999, "2100/02/28/23"),
            (4_107_542_400_000, "2100/03/01/00"),
            (u64::MAX, "9999/12/31/23"),
        ] {
            assert_eq!(Hour::of(ms).to_string(), shown);
        }
    }

    #[test]
    fn a_name_reads_back_and_nothing_else_is_one() {
        let name = PayloadName::new(writer(), Hour::of(1_700_000_000_000), "Ab-1.bin").expect("valid");
        assert_eq!(name.to_string(), "payloads/orders/2023/11/14/22/Ab-1.bin");
        assert_eq!(PayloadName::parse(&name.to_string()), Some(name));
        for bad in [
            "",
            "/payloads/orders/2023/11/14/22/a",
            "payloads/orders/2023/11/14/22/",
            "payloads/orders/2023/11/14/22/a/b",
            "payloads/orders/2023/11/14/22/..",
            "payloads/orders/2023/11/14/22/.a",
            "payloads/orders/2023/11/14/22/a.tmp",
            "payloads/orders/2023/11/14/22/a.swept",
            "payloads/orders/2023/11/14/22/a\0",
            "payloads/../2023/11/14/22/a",
            "payloads/orders/2023/13/14/22/a",
            "payloads/orders/2023/11/14/24/a",
            "payloads/orders/2023/11/1/22/a",
            "payloads/orders/+023/11/14/22/a",
            "payloads//orders/2023/11/14/22/a",
            "writers/orders/2023/11/14/22/a",
        ] {
            assert_eq!(PayloadName::parse(bad), None, "{bad}");
        }
        assert!(PayloadName::new(writer(), Hour::of(0), &"x".repeat(201)).is_err());
    }

    #[test]
    fn a_reference_reads_back_and_half_of_one_is_an_error() {
        let name = PayloadName::new(writer(), Hour::of(0), "a").expect("valid");
        let reference = PayloadReference { name, size: 5_000_000_000, crc: 0xAB };
        let headers = reference.headers();
        let look = |left_out: &'static str| {
            PayloadReference::from_headers(|name| {
                let found = headers.iter().find(|(other, _)| *other == name && name != left_out);
                found.map(|(_, value)| value.as_str())
            })
        };
        assert_eq!(look(""), Ok(Some(reference.clone())));
        for name in [PATH_HEADER, SIZE_HEADER, CRC_HEADER] {
            assert_eq!(look(name), Err(PayloadError::Header(name)));
        }
        assert_eq!(PayloadReference::from_headers(|_| None), Ok(None));
        for (size, crc) in [("05", "000000ab"), ("+5", "000000ab"), ("5", "AB"), ("5", "000000AB"), ("", "")]
        {
            let value = |name: &str| match name {
                PATH_HEADER => Some("payloads/orders/1970/01/01/00/a"),
                SIZE_HEADER => Some(size),
                _ => Some(crc),
            };
            assert!(PayloadReference::from_headers(value).is_err(), "{size} {crc}");
        }
    }

    proptest! {
        #[test]
        fn whatever_parses_shows_as_it_was_and_stays_below_its_writer(text in "(payloads/)?[a-z./0-9-]{0,60}") {
            if let Some(name) = PayloadName::parse(&text) {
                prop_assert_eq!(name.to_string(), text.clone());
                prop_assert!(text.starts_with("payloads/") && text.split('/').all(|part| part != ".."), "{}", text);
            }
        }

        #[test]
        fn every_hour_reads_back(ms: u64) {
            let name = PayloadName::new(writer(), Hour::of(ms), "a").expect("valid");
            prop_assert_eq!(PayloadName::parse(&name.to_string()), Some(name));
        }
    }
}
