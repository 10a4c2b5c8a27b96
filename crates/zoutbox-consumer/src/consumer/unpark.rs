//! Bringing back what was set aside.

use super::ConsumerError;
use super::link::Link;
use super::message::Delivered;
use super::options::UnparkOptions;
use super::place::{Failure, Place};

/// Moves all messages that are in `<queue>.parked` now back to the queue, in order: each is acknowledged there when the queue has it for
/// good. Returns how many.
///
/// The consumer then tries each again, and parks again what still fails and what waits behind it. If a broker had given records out again in
/// another order, some come back in front of one that they wait for, and are parked once more: move them again, until nothing is left.
///
/// A run that breaks off has moved some; at worst the last one is in both queues, which does no harm. Consumers may be running meanwhile.
///
/// Their routing key is now the queue's name; the consumer hands the first one, kept in `zoutbox-parked-topic`, to the handler.
///
/// # Errors
/// [`ConsumerError::Option`], [`ConsumerError::Refused`]; [`ConsumerError::Broker`] when the connection breaks, or the queue does not take a
/// message: then it stays where it is.
///
/// # Cancellation
/// Dropping the future breaks it off, as a lost connection does.
pub async fn unpark(options: &UnparkOptions) -> Result<u64, ConsumerError> {
    let place = Place::new(&options.amqp, &options.queue)?;
    let link = Link::connect(&place).await.map_err(|failure| failed(&place, failure))?;
    let moved = move_back(&link, &place).await;
    link.close().await;
    moved
}

async fn move_back(link: &Link, place: &Place) -> Result<u64, ConsumerError> {
    let failed = |failure| failed(place, failure);
    link.count().await.map_err(failed)?;
    let parked = u64::from(link.count_parked().await.map_err(failed)?);
    // Not more than there are now: what is parked again meanwhile waits for the next time.
    for moved in 0..parked {
        let Some(delivery) = link.get_parked().await.map_err(failed)? else { return Ok(moved) };
        let message = Delivered {
            number: moved,
            link: 0,
            tag: delivery.delivery_tag,
            routing_key: delivery.routing_key.to_string(),
            properties: delivery.properties,
            body: delivery.data,
        };
        match link.unpark(&message.again()).await {
            Ok(()) => link.ack(message.tag).await.map_err(failed)?,
            Err(reason) => {
                let reason = format!("{} is not moved, {moved} were: {reason}", message.name());
                return Err(ConsumerError::Broker { broker: place.to_string(), reason });
            }
        }
    }
    Ok(parked)
}

fn failed(place: &Place, Failure { reason, refused }: Failure) -> ConsumerError {
    let broker = place.to_string();
    if refused { ConsumerError::Refused { broker, reason } } else { ConsumerError::Broker { broker, reason } }
}
