//! What a victim can ask of the share.

use std::fmt;

/// Kinds of request, by what they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is what it is called")]
pub enum Kind {
    LookUp,
    Attributes,
    Open,
    Read,
    ReadDirectory,
    Space,
    Create,
    MakeDirectory,
    SetAttributes,
    Write,
    Sync,
    SyncDirectory,
    Rename,
    Link,
    Unlink,
    RemoveDirectory,
}

impl Kind {
    /// Whether it changes what is there, or what would be left.
    #[must_use]
    pub const fn changes(self) -> bool {
        !matches!(
            self,
            Self::LookUp | Self::Attributes | Self::Open | Self::Read | Self::ReadDirectory | Self::Space
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LookUp => "lookup",
            Self::Attributes => "getattr",
            Self::Open => "open",
            Self::Read => "read",
            Self::ReadDirectory => "readdir",
            Self::Space => "statfs",
            Self::Create => "create",
            Self::MakeDirectory => "mkdir",
            Self::SetAttributes => "setattr",
            Self::Write => "write",
            Self::Sync => "fsync",
            Self::SyncDirectory => "fsyncdir",
            Self::Rename => "rename",
            Self::Link => "link",
            Self::Unlink => "unlink",
            Self::RemoveDirectory => "rmdir",
        })
    }
}
