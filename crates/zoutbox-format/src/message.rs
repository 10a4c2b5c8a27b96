//! The names of the headers that say in a message which record it brings; what they mean says FORMAT.md under "Messages". Relays set
//! them and consumers look for them, with AMQP libraries of their own.

/// The share's id.
pub const SHARE: &str = "zoutbox-share";
/// The writer's id.
pub const WRITER: &str = "zoutbox-writer";
/// The epoch.
pub const EPOCH: &str = "zoutbox-epoch";
/// The sequence, of several records that of the first one.
pub const SEQUENCE: &str = "zoutbox-seq";
/// The timestamp in milliseconds.
pub const TIMESTAMP_MS: &str = "zoutbox-timestamp-ms";
/// The order key, if there is one.
pub const KEY: &str = "zoutbox-key";
/// The application's own id, if there is one.
pub const ID: &str = "zoutbox-id";
/// To how many records the body points; absent, if the body is the payload.
pub const POINTER: &str = "zoutbox-pointer";
