//! Durable append to a share: group commit, rotation, recovery.
