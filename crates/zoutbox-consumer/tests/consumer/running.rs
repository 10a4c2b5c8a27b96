//! A consumer that runs, with a handler that can be told what to do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use zoutbox_consumer::inbox::Store;
use zoutbox_consumer::{
    Consumer, ConsumerError, ConsumerOptions, HandlerError, Inbox, Message, Observer, Payload, Resolved,
    Resolver, Summary,
};
use zoutbox_format::Record;
use zoutbox_test_support::wait_until;

use crate::queue::{LONG, runtime};
use crate::share::TIME;
use crate::stores::{Failed, Ground, SHARE, record};

/// What the handler shall do with a record, and how often; then it applies it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Retry(u32),
    Poison,
}

/// Shared with the handler.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script {
    orders: Arc<Mutex<HashMap<String, Order>>>,
    /// Records whose effect ran, in order.
    applied: Arc<Mutex<Vec<String>>>,
    topics: Arc<Mutex<Vec<String>>>,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Script {
    pub(crate) fn order(&self, id: &str, order: Order) {
        self.orders.lock().unwrap().insert(id.into(), order);
    }

    pub(crate) fn obey_no_more(&self) {
        self.orders.lock().unwrap().clear();
    }

    pub(crate) fn applied(&self) -> Vec<String> {
        self.applied.lock().unwrap().clone()
    }

    /// The topics of what was applied.
    pub(crate) fn topics(&self) -> Vec<String> {
        self.topics.lock().unwrap().clone()
    }

    pub(crate) fn calls_for(&self, id: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|call| *call == id).count()
    }

    pub(crate) fn wait_for_applied(&self, count: usize) {
        wait_until(&format!("{count} are applied"), LONG, || self.applied().len() >= count);
    }

    /// What the handler does: fails as it was told to, else has the effect.
    pub(crate) fn handle(
        &self,
        resolved: &Resolved<'_>,
        effect: impl FnOnce(&str) -> Result<(), Failed>,
    ) -> Result<(), HandlerError<Failed>> {
        let id = resolved.identity.record.to_string();
        self.calls.lock().unwrap().push(id.clone());
        if let Some(order) = self.orders.lock().unwrap().get_mut(&id) {
            match order {
                Order::Poison => return Err(HandlerError::Poison(Failed(format!("{id} is bad")))),
                Order::Retry(0) => {}
                Order::Retry(left) => {
                    *left -= 1;
                    return Err(HandlerError::Retry(Failed(format!("not now, {id}"))));
                }
            }
        }
        let Payload::Bytes(_) = resolved.payload else { panic!("these tests have no large payloads") };
        effect(&id).map_err(HandlerError::Retry)?;
        self.topics.lock().unwrap().push(resolved.topic.to_owned());
        self.applied.lock().unwrap().push(id);
        Ok(())
    }
}

pub(crate) struct Running {
    pub(crate) stop: watch::Sender<bool>,
    task: JoinHandle<Result<Summary, ConsumerError>>,
}

impl Running {
    /// Starts one whose effects go to the ground.
    pub(crate) fn start<G: Ground + Send + Sync + 'static>(
        ground: &Arc<G>,
        options: ConsumerOptions,
        resolver: Resolver,
        script: &Script,
    ) -> Self
    where
        G::S: Send + 'static,
    {
        Self::observed(ground, options, resolver, script, None)
    }

    pub(crate) fn observed<G: Ground + Send + Sync + 'static>(
        ground: &Arc<G>,
        options: ConsumerOptions,
        resolver: Resolver,
        script: &Script,
        observer: Option<Box<dyn Observer + Send>>,
    ) -> Self
    where
        G::S: Send + 'static,
    {
        let (ground, script) = (Arc::clone(ground), script.clone());
        let inbox = ground.inbox();
        Self::with(options, resolver, inbox, observer, move |resolved, transaction| {
            script.handle(resolved, |id| ground.effect(transaction, id))
        })
    }

    pub(crate) fn with<S, F>(
        options: ConsumerOptions,
        resolver: Resolver,
        inbox: Inbox<S>,
        observer: Option<Box<dyn Observer + Send>>,
        handler: F,
    ) -> Self
    where
        S: Store + Send + 'static,
        F: FnMut(&Resolved<'_>, &mut S::Transaction<'_>) -> Result<(), HandlerError<Failed>> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        let mut consumer = Consumer::new(options, resolver, inbox);
        if let Some(observer) = observer {
            consumer = consumer.observe(observer);
        }
        let task = runtime().spawn(consumer.run(stopped, handler));
        Self { stop, task }
    }

    /// Tells it to stop, and returns what it says.
    pub(crate) fn stop(self) -> Summary {
        self.stop.send(true).unwrap();
        self.end().unwrap()
    }

    /// Waits until it ends by itself.
    pub(crate) fn end(self) -> Result<Summary, ConsumerError> {
        let ended = runtime().block_on(async { tokio::time::timeout(LONG, self.task).await });
        ended.expect("the consumer ends").unwrap()
    }

    pub(crate) fn is_running(&self) -> bool {
        !self.task.is_finished()
    }
}

/// A resolver of inline messages of the share that the tests use.
pub(crate) fn inline_resolver() -> Resolver {
    Resolver::inline_only(Some(SHARE.parse().unwrap()))
}

/// An inline message with topic `topic.<key>`.
pub(crate) fn inline(id: &str, key: Option<&str>) -> Message {
    let mut content =
        Record::new(format!("topic.{}", key.unwrap_or("none")), id).timestamp_ms(TIME).header("own", "x");
    content.key = key.map(str::to_owned);
    let identity = record(id);
    let number = |number: u64| zoutbox_consumer::HeaderValue::Integer(i64::try_from(number).unwrap());
    let text = |text: String| zoutbox_consumer::HeaderValue::Text(text);
    let mut headers: std::collections::BTreeMap<_, _> = [
        ("zoutbox-share".to_owned(), text(SHARE.to_owned())),
        ("zoutbox-writer".to_owned(), text(identity.record.writer.to_string())),
        ("zoutbox-epoch".to_owned(), number(identity.record.epoch.get())),
        ("zoutbox-seq".to_owned(), number(identity.record.sequence.get())),
        ("zoutbox-timestamp-ms".to_owned(), number(TIME)),
        ("own".to_owned(), text("x".to_owned())),
    ]
    .into();
    if let Some(key) = key {
        headers.insert("zoutbox-key".to_owned(), text(key.to_owned()));
    }
    Message {
        topic: content.topic,
        message_id: Some(id.to_owned()),
        content_type: None,
        timestamp_s: Some(TIME / 1000),
        headers,
        body: content.payload,
    }
}

/// Inline messages of writer `orders`, with these keys, from sequence 1 on.
pub(crate) fn keyed(keys: &[&str]) -> Vec<Message> {
    let message = |(index, key): (usize, &&str)| {
        inline(&format!("orders/1/{}", index + 1), Some(*key).filter(|key| !key.is_empty()))
    };
    keys.iter().enumerate().map(message).collect()
}

pub(crate) fn names(sequences: impl IntoIterator<Item = usize>) -> Vec<String> {
    sequences.into_iter().map(|sequence| format!("orders/1/{sequence}")).collect()
}
