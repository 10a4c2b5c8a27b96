//! A resolved record as a line of JSON, in the shape of `zoutbox cat`.

use zoutbox_consumer::{Payload, Resolved};
use zoutbox_format::Record;
use zoutbox_reader::json;

/// Appends it to `out`. Of a large payload it tells the reference, in the record's headers, as they are on the share.
pub(super) fn write(out: &mut Vec<u8>, record: &Resolved<'_>) {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let mut headers: Vec<(String, String)> = record.headers.iter().map(owned).collect();
    let payload = match &record.payload {
        Payload::Bytes(bytes) => (*bytes).to_vec(),
        Payload::Large(large) => {
            headers.extend(large.reference().headers().map(|(name, value)| (name.to_owned(), value)));
            Vec::new()
        }
    };
    let line = Record {
        topic: record.topic.to_owned(),
        key: record.key.map(str::to_owned),
        id: record.id.map(str::to_owned),
        timestamp_ms: Some(record.timestamp_ms),
        content_type: record.content_type.map(str::to_owned),
        headers,
        payload,
    };
    json::write_line(out, &record.identity.record, &line.borrowed(record.timestamp_ms));
}
