#![doc = include_str!("../FORMAT.md")]

mod bytes;
pub mod checkpoint;
pub mod doorbell;
pub mod dump;
pub mod frame;
pub mod header;
pub mod holder;
pub mod identity;
pub mod layout;
pub mod limits;
pub mod marker;
pub mod message;
pub mod outline;
pub mod payload;
pub mod pointer;
pub mod progress;
pub mod record;
pub mod scan;
pub mod waits;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use frame::{Frame, FrameKind, InvalidFrame, Parsed};
pub use header::{HeaderError, PreviousSegment, SegmentHeader};
pub use holder::Holder;
pub use identity::{Epoch, IdentityError, RecordId, SegmentId, Sequence, ShareId, WriterId};
pub use marker::{Marker, MarkerError};
pub use outline::Outline;
pub use payload::{Hour, PayloadName, PayloadReference};
pub use pointer::{Pointer, PointerError};
pub use progress::{Place, Progress};
pub use record::{Record, RecordError, RecordRef};
pub use scan::{Gap, ReadAt, Scanner, Step};
pub use waits::{Wait, Waits};
