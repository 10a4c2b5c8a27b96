//! Large payloads: streamed, and never as if they were whole when they are not.

use std::fs;
use std::io::{ErrorKind as Io, Read};
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use zoutbox_consumer::resolver::{PayloadFault, Unseen};
use zoutbox_consumer::{ErrorKind, Message, Payload, ResolveError, Resolver};
use zoutbox_format::{Hour, PayloadName, PayloadReference, Record};

use crate::ground::{Draft, Ground, TIME, assert_refused, carry, ground, grounds, named, owned, writer_id};

struct Scene {
    ground: Ground,
    draft: Draft,
    path: PathBuf,
    bytes: Vec<u8>,
    record: Record,
    reference: PayloadReference,
}

impl Scene {
    /// A large payload, and the record that names it, in a sealed segment.
    fn new(ground: Ground, length: usize) -> Self {
        let bytes: Vec<u8> = (0..=250).cycle().take(length).collect();
        let name = PayloadName::new(writer_id("orders"), Hour::of(TIME), "big-1").unwrap();
        let path = ground.layout.payload(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &bytes).unwrap();
        let reference = PayloadReference { name, size: length as u64, crc: crc32fast::hash(&bytes) };
        let record = Record::new("t", "").key("k").header("mine", "1").timestamp_ms(TIME);
        let draft = ground.draft("orders", 1, 1).large(&record, &reference).seal();
        ground.lay(&draft, true);
        Self { ground, draft, path, bytes, record, reference }
    }

    /// The two ways by which a record comes that names it.
    fn messages(&self) -> [Message; 2] {
        let mut inline = self.ground.inline("orders/1/1", &self.record);
        for (name, value) in self.reference.headers() {
            inline.headers.insert(name.to_owned(), zoutbox_consumer::HeaderValue::Text(value));
        }
        [carry(&self.draft.pointer(0..1)), inline]
    }

    fn open(&self, message: &Message) -> Result<impl Read + use<>, ResolveError> {
        let records = self.ground.resolve(message).unwrap();
        match records.get(0).unwrap().payload {
            Payload::Large(large) => {
                assert_eq!(*large.reference(), self.reference);
                large.open()
            }
            Payload::Bytes(bytes) => panic!("{} bytes in the message", bytes.len()),
        }
    }

    /// Reads all of it, in pieces of this size.
    fn read(&self, message: &Message, piece: usize) -> Result<Vec<u8>, ResolveError> {
        let mut reader = self.open(message)?;
        let (mut all, mut buffer) = (Vec::new(), vec![0; piece]);
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(all),
                Ok(count) => all.extend_from_slice(&buffer[..count]),
                Err(error) => {
                    assert!(reader.read(&mut buffer).is_err(), "what failed must not look like an end");
                    assert!(all.len() < self.bytes.len(), "all of it was given out before it failed");
                    let inner = error.into_inner().expect("says why");
                    return Err(*inner.downcast().expect("is the resolver's"));
                }
            }
        }
    }

    /// What reading comes to, by either message.
    fn refused(&self) -> ResolveError {
        let [one, other] = self.messages().map(|message| self.read(&message, 1000).unwrap_err());
        assert_eq!(one.to_string(), other.to_string());
        one
    }
}

#[test]
fn a_large_payload_is_read_whole_in_pieces_of_any_size() {
    for ground in grounds() {
        let scene = Scene::new(ground, 300_000);
        for message in scene.messages() {
            for piece in [1_000_000, 300_000, 299_999, 4096, 1] {
                let piece = if piece == 1 { 7 } else { piece };
                assert_eq!(scene.read(&message, piece).unwrap(), scene.bytes);
            }
            let found = owned(&scene.ground.resolve(&message).unwrap());
            let whole = Record { payload: scene.bytes.clone(), ..scene.record.clone() };
            assert_eq!(found, named("orders", 1, &[whole]), "its three headers are not the application's");
        }
    }
}

#[test]
fn an_empty_one_is_a_payload_too() {
    let scene = Scene::new(ground(), 0);
    for message in scene.messages() {
        assert!(scene.read(&message, 10).unwrap().is_empty());
    }
    fs::write(&scene.path, "x").unwrap();
    assert_refused(&scene.refused(), ErrorKind::Corrupt, "1 bytes long, its record says 0");
    // No read gives its last byte, so a CRC that is not that of nothing shows when it is opened.
    fs::write(&scene.path, "").unwrap();
    let mut inline = scene.messages()[1].clone();
    let crc = zoutbox_consumer::HeaderValue::Text("00000001".to_owned());
    inline.headers.insert("zoutbox-payload-crc".to_owned(), crc);
    let records = scene.ground.resolve(&inline).unwrap();
    let Payload::Large(large) = records.get(0).unwrap().payload else { panic!("in the message") };
    assert_refused(&large.open().unwrap_err(), ErrorKind::Corrupt, "CRC 00000000, its record says 00000001");
}

#[test]
fn it_is_read_on_without_records_and_resolver() {
    let scene = Scene::new(ground(), 10_000);
    let mut reader = scene.open(&scene.messages()[0]).unwrap();
    let read = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| bytes)
    });
    assert_eq!(read.join().unwrap().unwrap(), scene.bytes);
}

#[test]
fn one_that_is_changed_fails_before_its_last_byte_is_given_out() {
    let scene = Scene::new(ground(), 10_000);
    for at in [0, 5_000, 9_999] {
        let mut bytes = scene.bytes.clone();
        bytes[at] ^= 1;
        fs::write(&scene.path, bytes).unwrap();
        let error = scene.refused();
        assert!(matches!(error, ResolveError::Payload { fault: PayloadFault::Crc { .. }, .. }), "{error:?}");
        assert_refused(&error, ErrorKind::Corrupt, "its record says");
        let mut exact = vec![0; scene.bytes.len()];
        let read = scene.open(&scene.messages()[0]).unwrap().read_exact(&mut exact);
        assert_eq!(read.unwrap_err().kind(), Io::Other);
    }
}

#[test]
fn one_that_is_shorter_or_longer_fails() {
    let scene = Scene::new(ground(), 10_000);
    for length in [0, 9_999, 10_001, 50_000] {
        let mut bytes = scene.bytes.clone();
        bytes.resize(length, 7);
        fs::write(&scene.path, bytes).unwrap();
        let said = format!("{length} bytes long, its record says 10000");
        assert_refused(&scene.refused(), ErrorKind::Corrupt, &said);
        let opened = scene.open(&scene.messages()[0]).map(drop);
        assert_refused(&opened.expect_err("before anything is read"), ErrorKind::Corrupt, &said);
    }
}

#[test]
fn one_that_becomes_shorter_or_longer_while_it_is_read_fails() {
    let scene = Scene::new(ground(), 10_000);
    for (length, said) in [(6_000, "6000 bytes long"), (10_001, "10001 bytes long")] {
        fs::write(&scene.path, &scene.bytes).unwrap();
        let mut reader = scene.open(&scene.messages()[0]).unwrap();
        reader.read_exact(&mut [0; 5_000]).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&scene.path).unwrap();
        file.set_len(length).unwrap();
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn one_that_is_gone_with_its_record_is_expired_and_one_whose_record_is_there_is_not() {
    for ground in grounds() {
        let scene = Scene::new(ground, 100);
        let [pointed, inline] = scene.messages();
        let later = scene.ground.draft("orders", 1, 2);
        let records = scene.ground.resolve(&pointed).unwrap();
        let large = |records: &zoutbox_consumer::Records| match records.get(0).unwrap().payload {
            Payload::Large(large) => large.open().map(drop),
            Payload::Bytes(_) => panic!("in the message"),
        };
        fs::remove_file(&scene.path).unwrap();
        let error = scene.refused();
        assert!(matches!(error, ResolveError::NotYet { unseen: Unseen::Payload, .. }), "{error:?}");
        assert_refused(&error, ErrorKind::Retry, "though its record is");
        // In the archive it is still there, though there are later ones.
        scene.ground.lay(&later, false);
        let archive = scene.ground.layout.archive(&writer_id("orders"));
        fs::create_dir_all(&archive).unwrap();
        let segment = scene.ground.lay(&scene.draft, true);
        let archived = archive.join(segment.file_name().unwrap());
        fs::rename(&segment, &archived).unwrap();
        assert_eq!(scene.refused().kind(), ErrorKind::Retry);
        fs::remove_file(archived).unwrap();
        let gone = large(&records).unwrap_err();
        assert!(matches!(gone, ResolveError::Expired { .. }), "{gone:?}");
        assert_refused(&gone, ErrorKind::Missing, "payloads/orders/2023/11/14/22/big-1 was removed");
        let gone = scene.read(&inline, 10).unwrap_err();
        assert!(matches!(gone, ResolveError::Expired { .. }), "{gone:?}");
        // Not while the share itself is away.
        fs::remove_file(scene.ground.layout.marker()).unwrap();
        assert!(matches!(large(&records).unwrap_err(), ResolveError::ShareGone { .. }));
    }
}

#[test]
fn no_link_on_the_way_to_a_payload_is_followed_and_nothing_but_a_file_opened() {
    for ground in grounds() {
        let scene = Scene::new(ground, 100);
        let away = scene.ground.root.join("away");
        let root = scene.ground.root.to_owned();
        // The payload, and each of its directories in turn: hour, day, month, year, writer, all.
        let mut place = scene.path.clone();
        while place != root {
            fs::rename(&place, &away).unwrap();
            symlink(&away, &place).unwrap();
            let error = scene.refused();
            assert_refused(&error, ErrorKind::Corrupt, "a link");
            fs::remove_file(&place).unwrap();
            fs::rename(&away, &place).unwrap();
            place.pop();
        }
        fs::remove_file(&scene.path).unwrap();
        nix::unistd::mkfifo(&scene.path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_refused(&scene.refused(), ErrorKind::Corrupt, "special file");
    }
}

#[test]
fn an_inline_message_that_names_a_payload_wrongly_is_refused() {
    let scene = Scene::new(ground(), 100);
    let [_, inline] = scene.messages();
    let with = |name: &str, value: &str| {
        let mut message = inline.clone();
        message.headers.insert(name.to_owned(), zoutbox_consumer::HeaderValue::Text(value.to_owned()));
        scene.ground.refused(&message)
    };
    for path in [
        "../../etc/passwd",
        "/etc/passwd",
        "payloads/orders/2023/11/14/22/..",
        "writers/orders/writer.lock",
        "",
    ] {
        assert_refused(&with("zoutbox-payload-path", path), ErrorKind::Invalid, "zoutbox-payload-path");
    }
    let others = with("zoutbox-payload-path", "payloads/other/2023/11/14/22/big-1");
    assert_refused(&others, ErrorKind::Invalid, "another writer");
    assert_refused(&with("zoutbox-payload-size", "-1"), ErrorKind::Invalid, "zoutbox-payload-size");
    assert_refused(&with("zoutbox-payload-crc", "xyz"), ErrorKind::Invalid, "zoutbox-payload-crc");
    for name in ["zoutbox-payload-path", "zoutbox-payload-size", "zoutbox-payload-crc"] {
        let mut message = inline.clone();
        message.headers.remove(name).unwrap();
        assert_refused(&scene.ground.refused(&message), ErrorKind::Invalid, name);
        message.headers.insert(name.to_owned(), zoutbox_consumer::HeaderValue::Integer(100));
        assert_refused(&scene.ground.refused(&message), ErrorKind::Invalid, name);
    }
    let both = Message { body: b"x".to_vec(), ..inline.clone() };
    assert_refused(&scene.ground.refused(&both), ErrorKind::Invalid, "one of its own");
    let error = Resolver::inline_only(None).resolve(inline).unwrap_err();
    assert_refused(&error, ErrorKind::Fatal, "payload lies on the share");
}
