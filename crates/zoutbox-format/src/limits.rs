//! Every bound of the format, in one place, so that no length read from a share is trusted before it is compared.

/// The largest payload of a record, in bytes: the largest message `RabbitMQ` 4 accepts by default.
pub const MAX_PAYLOAD: usize = 16 * 1024 * 1024;
/// The longest topic, in bytes: an AMQP routing key is a short string (AMQP 0-9-1, 4.2.5.3).
pub const MAX_TOPIC: usize = 255;
/// The longest key, in bytes.
pub const MAX_KEY: usize = 255;
/// The longest application id, in bytes.
pub const MAX_ID: usize = 255;
/// The longest content type, in bytes: an AMQP short string.
pub const MAX_CONTENT_TYPE: usize = 255;
/// The most headers one record may carry.
pub const MAX_HEADERS: usize = 256;
/// The longest header name, in bytes: AMQP field names are short strings.
pub const MAX_HEADER_NAME: usize = 255;
/// All header names and values of one record together, in bytes. An AMQP content header must fit one frame
/// (128 KiB by default), so this leaves room for everything else in it.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;
/// The largest frame body, in bytes: a payload, all other fields at their limits, and their `MessagePack` framing.
pub const MAX_BODY: usize = MAX_PAYLOAD + 128 * 1024;
/// The longest writer id, in bytes.
pub const MAX_WRITER_ID: usize = 64;
/// The most bytes that one pointer leads to: one frame of the largest record.
pub const MAX_POINTED: u32 = 28 + 16_908_288;

const _: () = assert!(MAX_POINTED as usize == crate::frame::FRAME_HEADER_LENGTH + MAX_BODY);
/// Record headers with this prefix belong to zoutbox; an application may not set them.
pub const RESERVED_HEADER_PREFIX: &str = "zoutbox-";
