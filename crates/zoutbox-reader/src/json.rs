//! A record as one line of JSON: what `zoutbox cat` prints and what the relay's `stdout` publisher writes. One shape for both, so
//! that whoever reads the one can read the other.
//!
//! | field | type | what it is |
//! |---|---|---|
//! | `id` | string | the record's identity, `writer/epoch/sequence` |
//! | `writer`, `epoch`, `sequence` | string, number, number | the same in parts |
//! | `topic` | string | the routing key |
//! | `key` | string or null | what it is about |
//! | `application_id` | string or null | the application's own id |
//! | `timestamp_ms` | number | milliseconds since 1970-01-01 UTC |
//! | `content_type` | string or null | the payload's media type |
//! | `headers` | object | the application's headers, in its order; values are strings |
//! | `payload` | string | the payload, as `payload_encoding` says |
//! | `payload_encoding` | string | `utf8` if the payload is UTF-8, else `base64` (RFC 4648, padded) |
//!
//! All fields are always there. Epochs and sequences are 64-bit integers: a reader that keeps numbers as doubles takes `id`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use zoutbox_format::record::Headers;
use zoutbox_format::{RecordId, RecordRef};

#[derive(Serialize)]
struct Line<'a> {
    id: String,
    writer: &'a str,
    epoch: u64,
    sequence: u64,
    topic: &'a str,
    key: Option<&'a str>,
    application_id: Option<&'a str>,
    timestamp_ms: u64,
    content_type: Option<&'a str>,
    headers: InOrder<'a>,
    payload: Payload<'a>,
    payload_encoding: &'static str,
}

struct InOrder<'a>(&'a Headers<'a>);

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let InOrder(Headers(headers)) = self;
        let mut map = serializer.serialize_map(Some(headers.len()))?;
        for (name, value) in headers {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

enum Payload<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
}

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => serializer.serialize_str(&STANDARD.encode(bytes)),
        }
    }
}

/// Appends `record` to `out` as one JSON object and a newline.
///
/// # Panics
/// If strings, numbers and a map of strings could not be JSON, which they always can.
pub fn write_line(out: &mut Vec<u8>, id: &RecordId, record: &RecordRef<'_>) {
    let payload =
        std::str::from_utf8(record.payload()).map_or(Payload::Bytes(record.payload()), Payload::Text);
    let line = Line {
        id: id.to_string(),
        writer: id.writer.as_str(),
        epoch: id.epoch.get(),
        sequence: id.sequence.get(),
        topic: record.topic,
        key: record.key,
        application_id: record.id,
        timestamp_ms: record.timestamp_ms,
        content_type: record.content_type,
        headers: InOrder(&record.headers),
        payload_encoding: if matches!(payload, Payload::Text(_)) { "utf8" } else { "base64" },
        payload,
    };
    let written = serde_json::to_writer(&mut *out, &line);
    assert!(written.is_ok(), "strings, numbers and a map of strings are always JSON");
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use zoutbox_format::Record;

    fn line(record: &Record) -> String {
        let mut out = Vec::new();
        write_line(&mut out, &"orders/3/42".parse().expect("valid"), &record.borrowed(1_700_000_000_000));
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn a_record_is_one_line_with_every_field() {
        let record =
            Record::new("t", "a\n\"b\"").key("k").id("i").content_type("c").header("z", "1").header("a", "2");
        assert_eq!(
            line(&record),
            concat!(
                r#"{"id":"orders/3/42","writer":"orders","epoch":3,"sequence":42,"topic":"t","key":"k","#,
                r#""application_id":"i","timestamp_ms":1700000000000,"content_type":"c","#,
                r#""headers":{"z":"1","a":"2"},"payload":"a\n\"b\"","payload_encoding":"utf8"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_payload_that_is_no_text_is_base64_and_absent_fields_are_null() {
        let line = line(&Record::new("t", vec![0xFF, 0x00, 0xFE, 0x01]));
        assert!(line.contains(r#""payload":"/wD+AQ==","payload_encoding":"base64"}"#), "{line}");
        assert!(line.contains(r#""key":null,"application_id":null"#), "{line}");
        assert!(line.contains(r#""content_type":null,"headers":{}"#), "{line}");
    }
}
