//! An inbox in memory: enough where an effect may happen again after a restart, such as refreshing a cache.
//!
//! ```text
//! cargo run -p zoutbox-consumer --example inbox_memory
//! ```

use std::convert::Infallible;
use std::error::Error;

use zoutbox_consumer::{Applied, Identity, Inbox, MemoryStore};

fn main() -> Result<(), Box<dyn Error>> {
    let share = "000102030405060708090a0b0c0d0e0f".parse()?;
    let mut inbox = Inbox::open(MemoryStore::new(), "cache")?;
    // The relay was killed and has published 2 and 3 again. 2/3 is another record than 1/3, which was never acknowledged.
    for delivery in ["orders/1/1", "orders/1/2", "orders/1/3", "orders/1/2", "orders/1/3", "orders/2/3"] {
        let identity = Identity::new(share, delivery.parse()?);
        let applied = inbox.apply(&identity, |()| {
            println!("refreshing for {delivery}");
            Ok::<_, Infallible>(())
        })?;
        match applied {
            Applied::Now(()) => println!("{delivery}: applied"),
            Applied::Duplicate => println!("{delivery}: a duplicate"),
        }
    }
    Ok(())
}
