//! Discover writers and segments on a share, and follow them.
