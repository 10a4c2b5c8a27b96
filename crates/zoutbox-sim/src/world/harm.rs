//! How often which fault was injected: for the summary of a run, and for the bill of health.

use zoutbox_test_support::{Fault, Hits};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table below says what each is")]
pub enum Harm {
    WriterKilled,
    RelayKilled,
    ConsumerKilled,
    HostLost,
    PowerCut,
    ServerCrash,
    WriteUnsynced,
    NameUnsynced,
    Partition,
    LockLapsed,
    Stopped,
    Standstill,
    ClockJump,
    WriteFails,
    NoSpace,
    SyncFails,
    QuotaAtSync,
    NameFails,
    AnswerLost,
    CallFails,
    ShareFull,
    Disconnected,
    Blocked,
    Away,
    Nacked,
    QueueFull,
    Returned,
    AckLost,
}

const KINDS: usize = 28;

const fn row(hits: Hits, fault: &'static str, how: &'static str) -> Fault {
    Fault::new("sim", hits, fault, how)
}

impl Harm {
    /// All of them: for people in a line, and as the bill of health has them.
    pub const ALL: [(Self, &'static str, Fault); KINDS] = [
        (
            Self::WriterKilled,
            "writers killed",
            row(Hits::Writer, "killed", "in front of any call to the disk, or between two turns"),
        ),
        (
            Self::RelayKilled,
            "relays killed",
            row(Hits::Relay, "killed", "in front of any call to the disk, or between two turns"),
        ),
        (
            Self::ConsumerKilled,
            "consumers killed",
            row(Hits::Consumer, "killed", "in front of any call to the disk, or between two turns"),
        ),
        (
            Self::HostLost,
            "hosts lost",
            row(Hits::Disk, "a host loses its power", "what it had not sent is gone; its locks lapse later"),
        ),
        (Self::PowerCut, "power cuts", row(Hits::Disk, "power cut everywhere", "all hosts and the server")),
        (
            Self::ServerCrash,
            "server crashes",
            row(Hits::Share, "the server loses its power and comes back", "its clients live, and send again"),
        ),
        (
            Self::WriteUnsynced,
            "unsynced writes",
            row(
                Hits::Disk,
                "an unsynced write at a power cut",
                "kept, lost, its beginning, its end behind a hole, or old bytes in its place",
            ),
        ),
        (
            Self::NameUnsynced,
            "unsynced names",
            row(
                Hits::Disk,
                "an unsynced name at a power cut",
                "as a journal cuts it off, or in any combination",
            ),
        ),
        (
            Self::Partition,
            "partitions",
            row(Hits::Network, "a host is cut off from the server", "for up to two leases"),
        ),
        (
            Self::LockLapsed,
            "locks lapsed",
            row(
                Hits::Share,
                "a lock lapses while its holder lives",
                "somebody else gets it; what the holder had not sent goes nowhere",
            ),
        ),
        (
            Self::Stopped,
            "stopped",
            row(Hits::Clock, "a process stands still", "as by SIGSTOP, for up to 30 s; leases are 2 to 10 s"),
        ),
        (Self::Standstill, "standstills", row(Hits::Clock, "everything stands still", "for up to 40 s")),
        (
            Self::ClockJump,
            "clock jumps",
            row(Hits::Clock, "the wall clock of a host jumps", "to up to an hour off, either way"),
        ),
        (Self::WriteFails, "writes failed", row(Hits::Disk, "a write or a creation fails", "EIO, at random")),
        (
            Self::NoSpace,
            "writes without space",
            row(Hits::Disk, "a write or a creation finds no space", "ENOSPC, at random"),
        ),
        (
            Self::SyncFails,
            "syncs failed",
            row(
                Hits::Disk,
                "a file's sync fails",
                "EIO, at random; its pages are dropped, and the next sync succeeds",
            ),
        ),
        (
            Self::QuotaAtSync,
            "syncs over quota",
            row(Hits::Disk, "a file's sync is over quota", "EDQUOT, at random; its pages are dropped"),
        ),
        (
            Self::NameFails,
            "names failed",
            row(Hits::Disk, "a rename, link, removal or sync of a directory fails", "EIO, at random"),
        ),
        (
            Self::AnswerLost,
            "answers lost",
            row(
                Hits::Disk,
                "a rename, link, removal or sync of a directory works and says that it failed",
                "EIO, at random",
            ),
        ),
        (
            Self::CallFails,
            "other calls failed",
            row(Hits::Disk, "another call fails", "EIO of reading, opening, listing, locking …, at random"),
        ),
        (
            Self::ShareFull,
            "shares full",
            row(
                Hits::Share,
                "the share is full for a while",
                "ENOSPC when writing, or when syncing as over NFS",
            ),
        ),
        (
            Self::Disconnected,
            "disconnects",
            row(
                Hits::Network,
                "the connection to the broker breaks",
                "between any two frames; some of what was sent arrives, no confirm does",
            ),
        ),
        (Self::Blocked, "blocks", row(Hits::Broker, "it blocks publishers", "until it is told otherwise")),
        (
            Self::Away,
            "broker away",
            row(Hits::Broker, "it can't be reached", "connections break, and no other comes up"),
        ),
        (Self::Nacked, "nacks", row(Hits::Broker, "it nacks a message", "and has it all the same, or not")),
        (
            Self::QueueFull,
            "nacks of a full queue",
            row(Hits::Broker, "its queue is full", "it nacks all that comes, until a consumer made room"),
        ),
        (
            Self::Returned,
            "returns",
            row(
                Hits::Broker,
                "it returns a message as unroutable and confirms it",
                "at some confirm, not always its own",
            ),
        ),
        (
            Self::AckLost,
            "acknowledgements lost",
            row(Hits::Consumer, "its acknowledgement is lost", "the message is delivered again, later"),
        ),
    ];
}

/// How often each was injected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Harms([u64; KINDS]);

impl Harms {
    /// Once more.
    pub fn note(&mut self, harm: Harm) {
        self.note_many(harm, 1);
    }

    /// So many more.
    pub fn note_many(&mut self, harm: Harm, times: usize) {
        if let Some(count) = self.0.get_mut(harm as usize) {
            *count += times as u64;
        }
    }

    /// Another run's as well.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(count, more)| *count += more);
    }

    /// How often this one was.
    #[must_use]
    pub fn of(&self, harm: Harm) -> u64 {
        self.0.get(harm as usize).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_count_and_a_row_of_its_own() {
        let mut harms = Harms::default();
        for (number, (harm, ..)) in Harm::ALL.into_iter().enumerate() {
            assert_eq!(harm as usize, number, "{harm:?} is not in its place");
            harms.note_many(harm, number + 1);
        }
        harms.add(&harms.clone());
        assert!(Harm::ALL.iter().zip(1_u64..).all(|((harm, ..), number)| harms.of(*harm) == 2 * number));
    }
}
