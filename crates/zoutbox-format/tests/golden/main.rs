//! The golden files of `fixtures/v1/` against the encoder, the decoder, FORMAT.md and a reader in another language.

#![expect(clippy::disallowed_methods, reason = "tests read the checkout directly")]

#[cfg(test)]
mod files;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use zoutbox_format::dump::{DumpEnd, Dumped, dump};
    use zoutbox_format::frame::parse;
    use zoutbox_format::{Parsed, Pointer, RecordRef, Scanner, SegmentHeader, Step};

    use crate::files::{golden, smallest};

    fn fixtures() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
    }

    fn stored(name: &str) -> Vec<u8> {
        let path = fixtures().join("v1").join(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn dumped(bytes: &[u8]) -> (Dumped, String) {
        let mut text = String::new();
        let seen = dump(bytes, bytes.len() as u64, &mut text).expect("a slice can be read");
        (seen, text)
    }

    #[test]
    fn the_encoder_still_makes_every_golden_file_byte_for_byte() {
        for (name, bytes) in golden() {
            assert!(stored(name) == bytes, "{name} differs from what is made today");
        }
    }

    #[test]
    fn every_golden_file_still_reads_as_its_dump_says() {
        for (name, _) in golden() {
            let expected = String::from_utf8(stored(&format!("{name}.dump"))).expect("a dump is ASCII");
            assert_eq!(dumped(&stored(name)).1, expected, "{name}");
        }
    }

    #[test]
    fn there_is_no_golden_file_that_nothing_checks() {
        let known: BTreeSet<String> =
            golden().iter().flat_map(|(name, _)| [(*name).to_owned(), format!("{name}.dump")]).collect();
        let entries = fs::read_dir(fixtures().join("v1")).expect("the golden files");
        let there: BTreeSet<String> = entries
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        assert_eq!(there, known);
    }

    #[test]
    fn every_golden_file_ends_as_its_name_says() {
        let complete = [
            "smallest.seg",
            "sealed.seg",
            "fields.seg",
            "large-payload.seg",
            "checkpoint",
            "marker.json",
            "lease",
            "pointer",
            "pointer-batch",
        ];
        let ends = complete.map(|name| (name, DumpEnd::Complete)).into_iter().chain([
            ("open-zeros.seg", DumpEnd::Open),
            ("torn-tail.seg", DumpEnd::Torn),
            ("torn-hole.seg", DumpEnd::Torn),
            ("reserved-kind.seg", DumpEnd::Unknown),
            ("newer.seg", DumpEnd::Unknown),
            ("checkpoint-newer", DumpEnd::Unknown),
            ("marker-newer.json", DumpEnd::Unknown),
            ("pointer-newer", DumpEnd::Unknown),
            ("damaged-header.seg", DumpEnd::Damaged),
            ("checkpoint-damaged", DumpEnd::Damaged),
            ("marker-malformed.json", DumpEnd::Damaged),
            ("pointer-to-nothing", DumpEnd::Damaged),
        ]);
        for (name, end) in ends {
            assert_eq!(dumped(&stored(name)).0.end, end, "{name}");
        }
        let one_gap = Dumped { records: 5, gaps: 1, end: DumpEnd::Complete };
        for name in ["flipped-bit.seg", "flipped-length.seg", "foreign-frame.seg", "over-long.seg"] {
            assert_eq!(dumped(&stored(name)).0, one_gap, "{name}");
        }
    }

    #[test]
    fn the_pointers_lead_to_whole_records_of_the_sealed_segment() {
        let segment = stored("sealed.seg");
        let header = SegmentHeader::decode(&segment).expect("a segment");
        for (name, records) in [("pointer", 4..5), ("pointer-batch", 2..6)] {
            let pointer = Pointer::decode(&stored(name)).expect("a pointer");
            let from = usize::try_from(pointer.offset).expect("near");
            let frames = &segment[from..from + pointer.length as usize];
            assert!(pointer.matches(frames), "{name}: CRC");
            assert_eq!(
                (&pointer.share, &pointer.writer, pointer.segment),
                (&header.share, &header.writer, header.id)
            );
            assert_eq!(u64::from(pointer.count), records.end - records.start);
            let (mut rest, mut orders) = (frames, Vec::new());
            while let Parsed::Frame(frame) = parse(rest, header.crc_seed()) {
                assert_eq!(frame.sequence.get(), pointer.sequence.get() + orders.len() as u64, "{name}");
                orders.push(
                    String::from_utf8_lossy(RecordRef::decode(frame.body).expect("a record").payload())
                        .into_owned(),
                );
                rest = &rest[frame.length()..];
            }
            assert!(rest.is_empty(), "{name}: something follows");
            let expected: Vec<_> = records.map(|number| format!("{{\"order\":{number}}}")).collect();
            assert_eq!(orders, expected, "{name}");
        }
    }

    #[test]
    fn the_large_payload_is_named_by_its_record() {
        let segment = stored("large-payload.seg");
        let mut scanner = Scanner::from_start(&SegmentHeader::decode(&segment).expect("a segment"));
        let mut large = Vec::new();
        while let Ok(Step::Record(frame)) = scanner.step(&segment[..]) {
            large.push(RecordRef::decode(frame.body).expect("a record").large_payload());
        }
        let [None, Some(large), None] = &large[..] else { panic!("not one in the middle: {large:?}") };
        assert_eq!(large.name.to_string(), "payloads/orders/2023/11/14/22/scan-17.tiff");
        assert_eq!((large.size, large.crc), (5_000_000_000, 0x00C0_FFEE));
    }

    /// The lines of the first code block of FORMAT.md that start with an offset: offset, then bytes in hexadecimal up to two spaces.
    fn example() -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in include_str!("../../FORMAT.md").lines() {
            let Some((offset, rest)) = line.trim_start().split_once("  ") else { continue };
            let Ok(offset) = offset.parse::<usize>() else { continue };
            assert_eq!(offset, bytes.len(), "the example goes on at the wrong offset: {line}");
            let hex = rest.split("  ").next().unwrap_or_default().split(' ');
            bytes.extend(hex.map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal")));
        }
        bytes
    }

    #[test]
    fn the_example_in_the_document_is_what_the_encoder_makes() {
        assert_eq!(example(), smallest().bytes);
        assert_eq!(example(), stored("smallest.seg"));
    }

    #[test]
    fn the_limits_in_the_document_are_those_of_the_code() {
        use zoutbox_format::limits::{MAX_BODY, MAX_HEADER_BYTES, MAX_HEADERS, MAX_PAYLOAD, MAX_WRITER_ID};
        let limits = include_str!("../../FORMAT.md").split("## Limits").nth(1).expect("a table of limits");
        for row in [
            format!("| frame body | {MAX_BODY} bytes |"),
            format!("| payload | {MAX_PAYLOAD} bytes |"),
            format!("| headers of a record | {MAX_HEADERS}, and {MAX_HEADER_BYTES} bytes"),
            format!("| writer id | {MAX_WRITER_ID} bytes |"),
            format!("| share marker | {} bytes |", zoutbox_format::marker::MAX_MARKER),
            format!("| lock file | {} bytes |", zoutbox_format::holder::HOLDER_LENGTH),
        ] {
            assert!(limits.contains(&row), "no such row: {row}");
        }
    }

    #[test]
    fn a_reader_written_from_the_document_alone_sees_the_same() {
        let names = golden().into_iter().map(|(name, _)| name);
        let read = |name: &&str| name.ends_with("seg") || name.starts_with("pointer");
        let names: Vec<_> = names.filter(read).collect();
        let mut python = Command::new("python3");
        python
            .arg(fixtures().join("read.py"))
            .args(names.iter().map(|name| fixtures().join("v1").join(name)));
        let output = python.output().expect("python3 must be installed: it runs fixtures/read.py");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let expected: Vec<String> =
            names.iter().map(|name| without_reasons(&dumped(&stored(name)).1)).collect();
        assert!(names.len() > 20, "the golden segments were found");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected.concat());
    }

    fn without_reasons(dump: &str) -> String {
        dump.lines().map(|line| line.split(" reason=").next().unwrap_or_default().to_owned() + "\n").collect()
    }
}
