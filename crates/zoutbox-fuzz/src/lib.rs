//! What must hold of everything that comes from outside, whatever the bytes are.
//!
//! ```text
//!   fuzz/fuzz_targets/*.rs   libFuzzer, for as long as one likes ──┐
//!                                                                  ├─▶ Target::check(bytes)
//!   tests/targets.rs         proptest, with every test run       ──┘      no panic, bounded memory, bounded work,
//!                                                                         and what reads as canonical writes back as it was
//! ```
//!
//! What a target checks is written here and nowhere else. Bytes with a CRC in them are tried twice: as they are, and with the CRCs
//! [mended](forge), since anybody who can write to a share or send a datagram can compute one.
//!
//! A crate of its own, since it measures its memory by a global allocator, and since nobody who uses zoutbox needs it.

pub mod forge;
mod measure;
mod targets;

pub use measure::Counted;

/// Something that reads bytes from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A segment: header, frames, records, and the search behind damage.
    Segment,
    /// A checkpoint.
    Checkpoint,
    /// A pointer, as a message's body.
    Pointer,
    /// The small JSON files: share marker, lock files, consumers' progress, what the relay waits for.
    Marker,
    /// A datagram at the doorbell.
    Doorbell,
    /// File names, payload paths, and identities as text.
    Names,
    /// The relay's configuration: the file as a whole, and each kind of value.
    Config,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Segment,
        Self::Checkpoint,
        Self::Pointer,
        Self::Marker,
        Self::Doorbell,
        Self::Names,
        Self::Config,
    ];

    /// Its name: of the libFuzzer target, and of its directory in `fixtures/fuzz/`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::Checkpoint => "checkpoint",
            Self::Pointer => "pointer",
            Self::Marker => "marker",
            Self::Doorbell => "doorbell",
            Self::Names => "names",
            Self::Config => "config",
        }
    }

    /// How many bytes it may hold at once, besides the input: so many for each byte of it, and so many in any case.
    #[must_use]
    pub const fn memory(self) -> (usize, usize) {
        const KIB: usize = 1024;
        match self {
            // A frame of the greatest length is believed until the bytes turn out not to be there: twice, since a buffer that grows is there
            // twice for a moment, and a look and a search have one each.
            Self::Segment => (16, 3 * (zoutbox_format::limits::MAX_BODY + 256 * KIB)),
            Self::Checkpoint | Self::Doorbell => (0, 4 * KIB),
            Self::Pointer => (0, 8 * KIB),
            Self::Names => (16, 16 * KIB),
            // A tree of JSON, of which an empty list takes two bytes in a file, and 32 in memory, twice while a list grows.
            Self::Marker => (80, 64 * KIB),
            // The options themselves, and a tree of TOML with the place of every value, in which each part of a dotted key is a table of its own:
            // `a.` takes two bytes in a file, and a node of a B-tree, some 1,100 bytes, in memory (fixtures/fuzz/config/dotted-keys.toml).
            Self::Config => (700, 256 * KIB),
        }
    }

    /// Checks all that must hold for these bytes.
    ///
    /// # Panics
    /// When something does not hold.
    pub fn check(self, bytes: &[u8]) {
        let (each, fixed) = self.memory();
        let held = measure::most_held(|| match self {
            Self::Segment => targets::segment::check(bytes),
            Self::Checkpoint => targets::checkpoint::check(bytes),
            Self::Pointer => targets::pointer::check(bytes),
            Self::Marker => targets::marker::check(bytes),
            Self::Doorbell => targets::doorbell::check(bytes),
            Self::Names => targets::names::check(bytes),
            Self::Config => targets::config::check(bytes),
        });
        let allowed = bytes.len() * each + fixed;
        assert!(
            held <= allowed,
            "{self:?} held {held} bytes for {} of input, {allowed} allowed",
            bytes.len()
        );
    }
}
