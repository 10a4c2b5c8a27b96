//! How the program ends: the exit codes that scripts branch on, and expected errors with the code they end in.

use std::io;
use std::process::ExitCode;

use zoutbox_consumer::{ConsumerError, InboxError, RegistrationError, ResolveError, WindowError};
use zoutbox_format::{HeaderError, MarkerError};
use zoutbox_reader::ReaderError;
use zoutbox_storage::{ErrorKind, Operation, StorageError};
use zoutbox_writer::WriterError;

/// Exit codes, in the style of sysexits(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok,
    Damaged,
    Usage,
    BadInput,
    NotAShare,
    Unavailable,
    CantCreate,
    Io,
    Temporary,
    NewerFormat,
    /// Ended by this signal.
    Signal(u8),
}

/// The same list as people see it, below `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    a bug
  2    damaged data found (verify, cat, dump), or a promise that does not hold here (doctor)
  64   wrong usage
  65   bad input: a record too large, a header that is not allowed, an id that can't name a payload or names another
  66   not a share (not mounted?), one mounted so that a promise does not hold, or a file that is not there
  69   the broker refuses (consume): password, permission, another queue of that name
  73   can't create
  74   input or output error
  75   try again later: another live writer has this id, the share is full, not everything answered (status), no
       partner came (doctor --pair), a consumer has not vanished (forget), or the inbox is locked, or too many
       records are parked (consume)
  76   made by a newer zoutbox: update this one
  130  ended by SIGINT before the input was (append), or before the end (doctor, consume --count or --once)
  143  the same by SIGTERM";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Damaged => 2,
            Exit::Usage => 64,
            Exit::BadInput => 65,
            Exit::NotAShare => 66,
            Exit::Unavailable => 69,
            Exit::CantCreate => 73,
            Exit::Io => 74,
            Exit::Temporary => 75,
            Exit::NewerFormat => 76,
            Exit::Signal(number) => 128_u8.saturating_add(number),
        })
    }
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Retry | ErrorKind::Full | ErrorKind::Fenced => Self::Temporary,
            ErrorKind::Missing => Self::NotAShare,
            ErrorKind::Corrupt => Self::Damaged,
            ErrorKind::Invalid => Self::BadInput,
            _ => Self::Io,
        }
    }
}

/// An expected error: what to tell, and how to end.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// The same, with what was being done in front.
    pub(crate) fn context(self, context: &str) -> Self {
        Self { message: format!("{context}: {}", self.message), ..self }
    }

    pub(crate) fn output(error: &io::Error) -> Self {
        Self::new(Exit::Io, format!("can't write to standard output: {error}"))
    }
}

impl Failure {
    fn from_storage(error: &StorageError) -> Self {
        let exit = match error {
            StorageError::Marker { source: MarkerError::Newer { .. }, .. } => Exit::NewerFormat,
            StorageError::Io { operation: Operation::Create | Operation::CreateDirectory, .. }
                if !matches!(error.kind(), ErrorKind::Full | ErrorKind::Retry) =>
            {
                Exit::CantCreate
            }
            StorageError::UnsafeMount { .. } | StorageError::UnknownMount { .. } => Exit::NotAShare,
            _ => error.kind().into(),
        };
        Self::new(exit, error.to_string())
    }

    /// The writer's options go by other names here, and some of its errors have exit codes of their own.
    pub(crate) fn from_writer(error: &WriterError) -> Self {
        let exit = match error {
            WriterError::Storage(error) => return Self::from_storage(error),
            WriterError::InvalidOption { option, reason } => {
                return Self::new(Exit::Usage, format!("{}: {reason}", option_name(option)));
            }
            WriterError::Segment { source: HeaderError::Newer(_), .. } | WriterError::NewerFrame { .. } => {
                Exit::NewerFormat
            }
            WriterError::Segment { .. } => Exit::Damaged,
            other => other.kind().into(),
        };
        Self::new(exit, error.to_string())
    }
}

/// The command line's name of a writer's option.
fn option_name(option: &str) -> String {
    match option {
        "unconfirmed_limit" => "--max-unconfirmed".into(),
        other => format!("--{}", other.replace('_', "-")),
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::from_storage(&error)
    }
}

impl From<WriterError> for Failure {
    fn from(error: WriterError) -> Self {
        Self::from_writer(&error)
    }
}

impl From<ReaderError> for Failure {
    fn from(error: ReaderError) -> Self {
        match error {
            ReaderError::Storage(error) => error.into(),
            watch @ ReaderError::Watch { .. } => Self::new(watch.kind().into(), watch.to_string()),
        }
    }
}

impl From<InboxError> for Failure {
    fn from(error: InboxError) -> Self {
        let exit = match &error {
            InboxError::Newer { .. } | InboxError::State { source: WindowError::Newer(_), .. } => {
                Exit::NewerFormat
            }
            InboxError::ConsumerName(_) => Exit::Usage,
            other => other.kind().into(),
        };
        Self::new(exit, error.to_string())
    }
}

impl From<ConsumerError> for Failure {
    fn from(error: ConsumerError) -> Self {
        let exit = match error {
            ConsumerError::Inbox(error) => return error.into(),
            ConsumerError::Refused { .. } => Exit::Unavailable,
            ConsumerError::Option(_) => Exit::Usage,
            ref other => other.kind().into(),
        };
        Self::new(exit, error.to_string())
    }
}

impl From<RegistrationError> for Failure {
    fn from(error: RegistrationError) -> Self {
        let exit = match error {
            RegistrationError::Storage(error) => return error.into(),
            RegistrationError::Newer { .. } => Exit::NewerFormat,
            RegistrationError::Option(_) => Exit::Usage,
            ref other => other.kind().into(),
        };
        Self::new(exit, error.to_string())
    }
}

impl From<ResolveError> for Failure {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Storage(error) => error.into(),
            other => Self::new(other.kind().into(), other.to_string()),
        }
    }
}
