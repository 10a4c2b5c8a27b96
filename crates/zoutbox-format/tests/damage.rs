//! Whatever happens to a segment's bytes, what is read is what was written: in order, unchanged, and no more is lost than was hit.

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use zoutbox_format::dump::{DumpEnd, Dumped, dump};
    use zoutbox_format::frame::{FRAME_HEADER_LENGTH, FRAME_MAGIC, Seal, encode_data, encode_seal, parse};
    use zoutbox_format::header::HEADER_LENGTH;
    use zoutbox_format::scan::{MAX_GAP, SEARCH_ALLOWANCE};
    use zoutbox_format::{
        Checkpoint, Epoch, Gap, Holder, Marker, ReadAt, Record, RecordRef, Scanner, SegmentHeader, SegmentId,
        Sequence, ShareId, Step, WriterId,
    };
    use zoutbox_test_support::{Fault, Hits};

    const FIRST: u64 = 42;

    fn header() -> SegmentHeader {
        SegmentHeader {
            share: ShareId::from_bytes([0xAB; 16]),
            writer: WriterId::new("orders").expect("valid"),
            id: SegmentId { epoch: Epoch::new(2), first_sequence: Sequence::new(FIRST) },
            created_ms: 1_700_000_000_000,
            previous: None,
        }
    }

    /// A segment, its records' bodies, where each frame starts, and each record's commit.
    #[derive(Debug, Clone)]
    struct Written {
        bytes: Vec<u8>,
        bodies: Vec<Vec<u8>>,
        offsets: Vec<usize>,
        commits: Vec<usize>,
    }

    fn written(commits: &[Vec<Vec<u8>>], sealed: bool) -> Written {
        let header = header();
        let mut written = Written {
            bytes: header.encode().to_vec(),
            bodies: Vec::new(),
            offsets: Vec::new(),
            commits: Vec::new(),
        };
        let mut next = header.id.first_sequence;
        for (commit, payloads) in commits.iter().enumerate() {
            for (index, payload) in (0..).zip(payloads) {
                let mut body = Vec::new();
                Record::new("t", payload.clone()).borrowed(1).encode(&mut body).expect("within the limits");
                written.offsets.push(written.bytes.len());
                encode_data(&mut written.bytes, header.crc_seed(), next, index, &body);
                written.bodies.push(body);
                written.commits.push(commit);
                next = next.next();
            }
        }
        written.offsets.push(written.bytes.len());
        if sealed {
            let seal = Seal { records: written.bodies.len() as u64, offset: written.bytes.len() as u64 };
            encode_seal(&mut written.bytes, header.crc_seed(), next, seal);
        }
        written
    }

    /// Commits of one, three and two records, with bodies short and long.
    fn sample(sealed: bool) -> Written {
        let payload = |n: u8| vec![n; usize::from(n) * 9];
        let commits =
            [vec![payload(1)], vec![payload(0), payload(4), payload(2)], vec![payload(3), payload(1)]];
        written(&commits, sealed)
    }

    /// Reads a segment to its end, past damage: the sequences and bodies read, and the ranges reported as lost.
    struct Seen {
        records: Vec<(u64, Vec<u8>)>,
        lost: Vec<(u64, u64)>,
        sealed: bool,
        /// The sequence that would follow.
        next: u64,
    }

    fn read(bytes: &[u8], durable: bool) -> Option<Seen> {
        let header = SegmentHeader::decode(bytes).ok()?;
        let mut scanner = Scanner::from_start(&header);
        let mut seen = Seen { records: Vec::new(), lost: Vec::new(), sealed: false, next: 0 };
        loop {
            match scanner.step(bytes) {
                Ok(Step::Record(frame)) => {
                    seen.records.push((frame.sequence.get(), frame.body.to_vec()));
                    continue;
                }
                Ok(Step::Sealed(_)) => {
                    seen.sealed = true;
                    break;
                }
                Ok(_) => {}
            }
            let next = scanner.next_sequence().get();
            match scanner.classify_gap(bytes, durable) {
                Ok(Gap::Damaged { resume_offset, resume_sequence }) => {
                    assert!(resume_offset > scanner.offset(), "reading goes on behind the damage");
                    seen.lost.push((next, resume_sequence.get()));
                    scanner.resume(resume_offset, resume_sequence);
                }
                Ok(_) => break,
            }
        }
        seen.next = scanner.next_sequence().get();
        Some(seen)
    }

    /// What was read is original, in order, each record once, and together with what is reported lost it has no hole.
    fn assert_original(seen: &Seen, original: &Written) {
        let mut next = FIRST;
        let mut lost = seen.lost.iter().filter(|(from, until)| from < until);
        for (sequence, body) in &seen.records {
            if *sequence != next {
                assert_eq!(lost.next(), Some(&(next, *sequence)), "a hole that was not reported");
            }
            let index = usize::try_from(sequence - FIRST).expect("small");
            assert_eq!(Some(body), original.bodies.get(index), "record {sequence} is not the one written");
            next = sequence + 1;
        }
        if let Some((from, until)) = lost.next() {
            assert_eq!((*from, *until), (next, seen.next), "a loss nobody saw");
        }
        assert_eq!(lost.next(), None);
    }

    #[test]
    fn cut_at_every_byte_a_segment_loses_only_what_was_cut() {
        let mut cuts = 0;
        for original in [sample(true), sample(false)] {
            for length in 0..original.bytes.len() {
                for zeros in [0, 1, 27, 28, 200] {
                    let mut bytes = original.bytes[..length].to_vec();
                    bytes.resize(length + zeros, 0);
                    let Some(seen) = read(&bytes, false) else {
                        assert!(length < HEADER_LENGTH, "a whole header is not read");
                        continue;
                    };
                    let whole = original.offsets.iter().skip(1).filter(|end| **end <= length).count();
                    // A frame that ends in zeros is whole with the zeros behind it.
                    assert!(seen.records.len() >= whole.min(original.bodies.len()), "cut at {length}");
                    assert!(seen.lost.is_empty() && !seen.sealed || zeros > 0, "cut at {length}");
                    assert_original(&seen, &original);
                    cuts += 1;
                }
            }
        }
        Fault::new(
            "format",
            Hits::Disk,
            "a segment is cut",
            "at every byte, with and without zeros behind it",
        )
        .held(cuts, "all records in front of the cut are read, none altered, no loss unreported");
    }

    #[test]
    fn with_every_bit_flipped_a_segment_loses_only_the_record_that_was_hit() {
        let mut bits = 0;
        for (original, sealed) in [(sample(true), true), (sample(false), false)] {
            for bit in 0..original.bytes.len() * 8 {
                let mut bytes = original.bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                let Some(seen) = read(&bytes, false) else {
                    assert!(bit / 8 < HEADER_LENGTH, "bit {bit}: the header is refused for it");
                    continue;
                };
                assert!(bit / 8 >= HEADER_LENGTH, "bit {bit} of the header is not noticed");
                assert_original(&seen, &original);
                let hit = original.offsets.iter().filter(|offset| **offset <= bit / 8).count() - 1;
                let last_commit = original.commits.last().copied();
                let unproven = !sealed && original.commits.get(hit).copied() == last_commit;
                let proven = !unproven && hit < original.bodies.len();
                let expected = if unproven { hit } else { original.bodies.len() - usize::from(proven) };
                assert_eq!(seen.records.len(), expected, "bit {bit}, in record {hit}");
                let lost = (FIRST + hit as u64, FIRST + hit as u64 + 1);
                assert_eq!(seen.lost.first().copied(), proven.then_some(lost), "bit {bit}");
            }
            bits += original.bytes.len() * 8;
        }
        Fault::new("format", Hits::Disk, "a flipped bit in a segment", "every bit in turn")
            .held(bits, "none altered; what was hit is reported, or taken for an unfinished end where nothing proves that it had ended");
    }

    /// What can happen to bytes.
    #[derive(Debug, Clone)]
    enum Harm {
        Flip(prop::sample::Index, u8),
        Fill(prop::sample::Index, usize, u8),
        Noise(prop::sample::Index, Vec<u8>),
        Swap(prop::sample::Index, prop::sample::Index),
        Insert(prop::sample::Index, Vec<u8>),
        Remove(prop::sample::Index, usize),
        Cut(prop::sample::Index),
        Zeros(usize),
    }

    fn harm() -> impl Strategy<Value = Harm> {
        let place = any::<prop::sample::Index>;
        let noise = || vec(any::<u8>(), 1..60);
        prop_oneof![
            (place(), 1_u8..).prop_map(|(at, bits)| Harm::Flip(at, bits)),
            (place(), 1_usize..200, any::<u8>()).prop_map(|(at, n, with)| Harm::Fill(at, n, with)),
            (place(), noise()).prop_map(|(at, with)| Harm::Noise(at, with)),
            (place(), place()).prop_map(|(a, b)| Harm::Swap(a, b)),
            (place(), noise()).prop_map(|(at, with)| Harm::Insert(at, with)),
            (place(), 1_usize..200).prop_map(|(at, n)| Harm::Remove(at, n)),
            place().prop_map(Harm::Cut),
            (1_usize..200).prop_map(Harm::Zeros),
        ]
    }

    /// Never touches the header: one that is damaged takes the whole segment with it, which is another test.
    fn suffer(original: &Written, harm: &Harm) -> Vec<u8> {
        let (head, frames) = original.bytes.split_at(HEADER_LENGTH);
        let mut bytes = frames.to_vec();
        let length = bytes.len();
        match harm {
            Harm::Flip(at, bits) => bytes[at.index(length)] ^= bits,
            Harm::Fill(at, n, with) => {
                bytes.iter_mut().skip(at.index(length)).take(*n).for_each(|b| *b = *with);
            }
            Harm::Noise(at, with) => {
                bytes.iter_mut().skip(at.index(length)).zip(with).for_each(|(b, with)| *b = *with);
            }
            Harm::Swap(a, b) => {
                // Two frames change places, as blocks on a disk can.
                let frame = |at: &prop::sample::Index| {
                    let index = at.index(original.bodies.len());
                    original.offsets[index] - HEADER_LENGTH..original.offsets[index + 1] - HEADER_LENGTH
                };
                let (a, b) = (frame(a), frame(b));
                let (first, second) = (frames[a.clone()].to_vec(), frames[b.clone()].to_vec());
                if a.start > b.start {
                    bytes.splice(a, second);
                    bytes.splice(b, first);
                } else if a.start < b.start {
                    bytes.splice(b, first);
                    bytes.splice(a, second);
                }
            }
            Harm::Insert(at, with) => {
                let at = at.index(length);
                bytes.splice(at..at, with.iter().copied());
            }
            Harm::Remove(at, n) => {
                let at = at.index(length);
                bytes.drain(at..(at + n).min(length));
            }
            Harm::Cut(at) => bytes.truncate(at.index(length)),
            Harm::Zeros(n) => bytes.resize(length + n, 0),
        }
        [head, &bytes].concat()
    }

    proptest! {
        #[test]
        fn whatever_happens_to_a_segment_only_original_records_are_read_in_order(
            commits in vec(vec(vec(any::<u8>(), 0..60), 1..5), 1..6), sealed: bool, durable: bool,
            harms in vec(harm(), 1..4),
        ) {
            let original = written(&commits, sealed);
            let mut harmed = original.clone();
            for harm in &harms {
                if harmed.bytes.len() == original.bytes.len() {
                    harmed.bytes = suffer(&harmed, harm);
                }
            }
            let seen = read(&harmed.bytes, durable).expect("the header is sound");
            assert_original(&seen, &original);
            let mut text = String::new();
            let dumped = dump(&harmed.bytes[..], harmed.bytes.len() as u64, &mut text).expect("a slice");
            prop_assert!(text.is_ascii());
            if !durable {
                prop_assert_eq!(dumped.records, seen.records.len() as u64);
                prop_assert_eq!(dumped.gaps, seen.lost.len() as u64);
            }
        }

        #[test]
        fn no_bytes_make_a_decoder_panic(
            bytes in vec(any::<u8>(), 0..600),
            start in prop::sample::select(vec![&b""[..], b"ZOUTSEG\n\x01\0", b"ZOUTCKP\n\x01\0", b"ZFRM\x01\0\0\0", b"{", b"\x97"]),
        ) {
            let bytes = [start, &bytes].concat();
            drop(SegmentHeader::decode(&bytes));
            drop(Checkpoint::decode(&bytes));
            drop(Checkpoint::decode(bytes.get(..152).unwrap_or_default()));
            drop(Marker::decode(&bytes));
            drop(Holder::decode(&bytes));
            drop(RecordRef::decode(&bytes));
            let _parsed = parse(&bytes, header().crc_seed());
            let mut text = String::new();
            prop_assert!(dump(&bytes[..], bytes.len() as u64, &mut text).is_ok());
            prop_assert!(text.is_ascii());
        }

        #[test]
        fn no_bytes_make_the_scanner_panic_or_read_a_record(
            pieces in vec(prop_oneof![
                vec(any::<u8>(), 0..60),
                vec(Just(0_u8), 0..60),
                (any::<u8>(), any::<u32>(), any::<[u8; 16]>()).prop_map(|(kind, length, rest)| {
                    let length = length % 300;
                    [&FRAME_MAGIC[..], &[kind % 4, 0, 0, 0], &length.to_le_bytes(), &rest].concat()
                }),
            ], 0..30),
            next in FIRST.., durable: bool, end in prop::option::of(0_u64..1000),
        ) {
            let bytes = [header().encode().to_vec(), pieces.concat()].concat();
            let mut scanner = Scanner::new(&header(), HEADER_LENGTH as u64, Sequence::new(next));
            if let Some(end) = end {
                scanner.close_at(end);
            }
            let step = scanner.step(&bytes[..]).expect("a slice");
            prop_assert!(!matches!(step, Step::Record(_) | Step::Sealed(_)), "{:?}", step);
            prop_assert_eq!(scanner.classify_gap(&bytes[..], durable), Ok(Gap::Torn));
        }
    }

    /// A file of forged frames that is never stored, and how much of it was read.
    struct Forged {
        head: Vec<u8>,
        length: u64,
        read: Cell<u64>,
    }

    impl ReadAt for Forged {
        type Error = Infallible;

        fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Infallible> {
            let count = usize::try_from(self.length.saturating_sub(offset))
                .map_or(buffer.len(), |n| n.min(buffer.len()));
            let mut forged = [1; FRAME_HEADER_LENGTH];
            forged[..4].copy_from_slice(&FRAME_MAGIC);
            forged[8..12].copy_from_slice(&12_000_000_u32.to_le_bytes());
            for (byte, at) in buffer.iter_mut().take(count).zip(offset..) {
                let at = usize::try_from(at).expect("small");
                *byte = self.head.get(at).copied().unwrap_or(forged[at % FRAME_HEADER_LENGTH]);
            }
            self.read.set(self.read.get() + count as u64);
            Ok(count)
        }
    }

    #[test]
    fn the_search_behind_a_gap_is_given_up_before_it_gets_expensive() {
        let head = sample(false).bytes;
        let forged = Forged { head, length: 4 << 30, read: Cell::new(0) };
        let mut scanner = Scanner::from_start(&header());
        while let Ok(Step::Record(_)) = scanner.step(&forged) {}
        assert_eq!(scanner.classify_gap(&forged, true), Ok(Gap::Unresolved));
        let read = forged.read.get();
        assert!(read < 1 << 30, "{read} bytes were read to find out");
    }

    /// Bytes that count how much of them is read.
    struct Counted(Vec<u8>, Cell<u64>);

    impl ReadAt for Counted {
        type Error = Infallible;

        fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Infallible> {
            let count = self.0[..].read_at(buffer, offset)?;
            self.1.set(self.1.get() + count as u64);
            Ok(count)
        }
    }

    /// A frame's header that is believed until all of its body was read.
    fn forged(length: usize, sequence: u64) -> [u8; FRAME_HEADER_LENGTH] {
        let mut forged = [0; FRAME_HEADER_LENGTH];
        forged[..4].copy_from_slice(&FRAME_MAGIC);
        forged[4] = 1;
        forged[8..12].copy_from_slice(&u32::try_from(length).expect("small").to_le_bytes());
        forged[16..24].copy_from_slice(&sequence.to_le_bytes());
        forged
    }

    #[test]
    fn sound_frames_one_in_the_other_that_can_not_lie_there_do_not_make_the_search_quadratic() {
        const FRAMES: usize = 20;
        let seed = u32::from_le_bytes(header().encode()[156..].try_into().expect("four bytes"));
        let body = 16 * 1024 * 1024;
        let mut bytes =
            [header().encode().to_vec(), vec![0xEE; 40], vec![7; FRAMES * FRAME_HEADER_LENGTH + body]]
                .concat();
        let end = bytes.len();
        // From the innermost to the outermost: each one's CRC covers those in it.
        for frame in (0..FRAMES).rev() {
            let at = HEADER_LENGTH + 40 + frame * FRAME_HEADER_LENGTH;
            let body = at + FRAME_HEADER_LENGTH..end;
            bytes[at..body.start].copy_from_slice(&forged(body.len(), u64::MAX / 2));
            let mut crc = crc32fast::Hasher::new_with_initial(seed);
            crc.update(&bytes[at..at + 24]);
            crc.update(&bytes[body]);
            bytes[at + 24..at + 28].copy_from_slice(&crc.finalize().to_le_bytes());
        }
        let whole = parse(&bytes[HEADER_LENGTH + 40..], header().crc_seed());
        assert!(matches!(whole, zoutbox_format::Parsed::Frame(_)), "not even sound");
        let source = Counted(bytes, Cell::new(0));
        let mut scanner = Scanner::from_start(&header());
        assert!(matches!(scanner.step(&source), Ok(Step::Invalid(_))));
        assert_eq!(scanner.classify_gap(&source, true), Ok(Gap::Unresolved));
        let read = source.1.get();
        assert!(read < SEARCH_ALLOWANCE + 40 * 1024 * 1024, "{read} bytes were read to find out");
    }

    #[test]
    fn many_gaps_together_cost_no_more_than_one_may_and_looking_at_one_again_costs_nothing_of_it() {
        const GAPS: u64 = 12;
        let header = header();
        let mut bytes = header.encode().to_vec();
        for gap in 0..GAPS {
            (0..7).for_each(|_| bytes.extend(forged(16_000_000, 1)));
            encode_data(&mut bytes, header.crc_seed(), Sequence::new(FIRST + gap + 1), 0, b"sound");
        }
        bytes.resize(bytes.len() + 17_000_000, 0xEE);
        let source = Counted(bytes, Cell::new(0));
        let mut scanner = Scanner::from_start(&header);
        let looks = (0..3).map(|_| scanner.classify_gap(&source, true));
        let looks: Vec<_> = looks.map(|gap| gap.expect("a slice")).collect();
        assert!(
            matches!(looks[..], [Gap::Damaged { .. }, again, last] if again == looks[0] && last == again)
        );
        source.1.set(0);
        let mut passed = 0;
        while let Ok(Gap::Damaged { resume_offset, resume_sequence }) = scanner.classify_gap(&source, true) {
            passed += 1;
            scanner.resume(resume_offset, resume_sequence);
            assert!(matches!(scanner.step(&source), Ok(Step::Record(_))));
        }
        assert!((1..GAPS).contains(&passed), "{passed} gaps were passed");
        let read = source.1.get();
        assert!(read < 2 * SEARCH_ALLOWANCE, "{read} bytes were read for {passed} gaps");
    }

    /// A file that is as long as a file can be, and holds nothing but its head.
    struct Sparse(Vec<u8>, Cell<u64>);

    impl ReadAt for Sparse {
        type Error = Infallible;

        fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Infallible> {
            buffer.fill(0);
            let head = self.0[..].read_at(buffer, offset)?;
            self.1.set(self.1.get() + buffer.len() as u64);
            assert!(head <= buffer.len());
            Ok(buffer.len())
        }
    }

    #[test]
    fn a_hole_without_an_end_is_not_searched_to_its_end() {
        let source = Sparse(sample(false).bytes, Cell::new(0));
        let mut scanner = Scanner::from_start(&header());
        while let Ok(Step::Record(_)) = scanner.step(&source) {}
        assert_eq!(scanner.classify_gap(&source, true), Ok(Gap::Unresolved));
        assert!(source.1.get() < MAX_GAP + (64 << 20), "{} bytes were read", source.1.get());
    }

    #[test]
    fn a_dump_of_countless_gaps_is_given_up_after_a_thousand() {
        let mut original = written(&vec![vec![vec![7; 20]]; 2100], true);
        for hit in original.offsets.iter().take(2100).step_by(2) {
            original.bytes[hit + 30] ^= 1;
        }
        let mut text = String::new();
        let seen = dump(&original.bytes[..], original.bytes.len() as u64, &mut text).expect("a slice");
        assert_eq!(seen, Dumped { records: 999, gaps: 1000, end: DumpEnd::Damaged });
        assert!(
            text.trim_end().ends_with("unresolved next=2041 reason=\"1000 gaps\""),
            "{}",
            &text[text.len() - 200..]
        );
    }
}
