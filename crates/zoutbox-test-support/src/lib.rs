//! What the tests of zoutbox share: private RabbitMQ nodes and PostgreSQL servers, directories on real filesystems, waiting, the way to the
//! workspace's own programs, and the lines of the bill of health.
//!
//! Only ever a dependency of tests, and of programs that are tests (the lab, the simulation). Everything here fails loudly: a test whose ground is
//! missing panics and says what is missing; it's never skipped.
#![expect(clippy::disallowed_methods, reason = "tests drive the real disk, clock and processes directly")]
#![expect(clippy::panic, reason = "a harness that cannot do its work must fail the test that asked for it")]
#![expect(
    clippy::missing_panics_doc,
    reason = "every function here panics when the ground it needs is missing"
)]

mod broker;
pub mod faults;
mod postgres;
mod program;
mod python;
mod roots;
mod script;
mod wait;

pub use broker::Broker;
pub use faults::{Fault, Hits};
pub use postgres::Postgres;
pub use program::binary;
pub use python::python;
pub use roots::{TestRoot, test_roots};
pub use wait::wait_until;
